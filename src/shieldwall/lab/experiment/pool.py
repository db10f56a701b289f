"""Runs tasks in processes of their own, each with one thread, and gives their results as they come."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

from shieldwall.core.errors import BenchmarkError, Interrupted
from shieldwall.lab.worker_process import set_up_worker
from shieldwall.run.allocator import keep_freed_memory
from shieldwall.run.signals import stop_signals

T = TypeVar("T")
R = TypeVar("R")

_LOOK_S = 0.2
"""Between two looks whether a signal has come."""


class Pool:
    """Processes for an experiment; each is started when there is work for it.

    Args:
        processes: how many tasks run at once.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._others = set(active_children())
        self._executor = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_set_up)

    def run(self, work: Callable[[T], R], tasks: Sequence[T], on_start: Callable[[T], None]) -> Iterator[tuple[T, R]]:
        """Do `work` on each task; the first error ends it.

        Args:
            work: a function of a module, so that another process finds it.
            tasks: in the order in which they are begun.
            on_start: told of each task as it is handed to a process.

        Raises:
            BenchmarkError: SW-B105; a process ended before its cell was done.
            Interrupted: SW-I101; SIGINT or SIGTERM came. What was yielded is done, what was in work is lost.
        """
        waiting = list(reversed(tasks))
        running: dict[Future[R], T] = {}
        with stop_signals() as stop_wanted:
            while waiting or running:
                while waiting and len(running) < self._processes:
                    task = waiting.pop()
                    on_start(task)
                    running[self._executor.submit(work, task)] = task
                done, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                if stop_wanted():
                    raise _interrupted()
                for future in done:
                    yield running.pop(future), _result(future)

    def end(self) -> None:
        """End the processes; nobody waits any more for what they still work on."""
        for child in set(active_children()) - self._others:
            child.kill()
        self._executor.shutdown(cancel_futures=True)


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise BenchmarkError(
            "SW-B105",
            "a process of the experiment ended before its cell was done",
            expected="a process that computes a cell to its end",
            got=str(error),
            state="finished cells are kept; what was in work is lost",
            remedy="see whether memory ran out, and start the same command again, perhaps with fewer --processes; a"
            ' script that calls this has to do so under if __name__ == "__main__"',
        ) from error


def _set_up() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started this one ends it
    set_up_worker()
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was: nobody would take its result."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _interrupted() -> Interrupted:
    return Interrupted(
        "SW-I101",
        "the experiment was stopped by a signal",
        state="every finished cell is kept; what was in work is lost",
        remedy="start the same command again: it does only what is missing",
    )
