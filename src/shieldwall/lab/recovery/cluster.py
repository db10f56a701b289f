"""A run that listens and its workers, as processes of this machine, each worker behind a line that can be cut.

The processes are forks of one that has imported the libraries and done nothing else, so that a worker that is started
again is there in a second.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from shieldwall.core.errors import BenchmarkError
from shieldwall.lab.recovery import trap
from shieldwall.transport.faulty import FaultyProxy
from shieldwall.transport.identity.ticket import read_ticket

_TICKET = re.compile(r"shieldwall join (sw1\S+)")
_PRELOADED = [
    "shieldwall.cli",
    "shieldwall.run.train",
    "shieldwall.run.machines.worker",
    "shieldwall.lab.recovery.trap",
    "transformers.models.gpt2.modeling_gpt2",
]
_LOOK_S = 0.01


class Cluster:
    """Made by `cluster`.

    Args:
        folder: for everything that the processes write; the run's is `run`.
        settings: of the run, as after `--set`.
    """

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        self.folder = folder
        self._settings = settings
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._stack = AsyncExitStack()
        self.training: BaseProcess | None = None
        self.workers: dict[int, BaseProcess] = {}
        self.lines: dict[int, FaultyProxy] = {}
        self._tickets: dict[int, str] = {}

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    @property
    def said(self) -> str:
        """What the initiator has said on standard error."""
        path = self.folder / "train.err"
        return path.read_text() if path.exists() else ""

    def home(self, worker: int) -> Path:
        """A worker's folder."""
        return self.folder / f"home-{worker}"

    async def train(self, *, resume: bool = False) -> None:
        """Start the initiator."""
        settings = [part for setting in self._settings for part in ("--set", setting)]
        arguments = ["train", "--run", str(self.run), "--listen", "127.0.0.1:0", "--json"]
        self.training = self._start("train", [*arguments, *(["--resume"] if resume else settings)])
        if not resume:
            await self.until(lambda: _TICKET.search(self.said) is not None)

    async def join(self, worker: int, ticket_text: str = "") -> None:
        """Start a worker, or start it again, behind a line of its own; with the run's last ticket if none is given."""
        if worker not in self.lines:
            ticket = read_ticket(ticket_text or _TICKET.findall(self.said)[-1])
            port = int(ticket.addresses[0].rpartition(":")[2])
            self.lines[worker] = FaultyProxy(("127.0.0.1", port))
            mine = await self._stack.enter_async_context(self.lines[worker].listening())
            self._tickets[worker] = replace(ticket, addresses=(f"127.0.0.1:{mine}",)).text()
        arguments = [self._tickets[worker], self.home(worker)]
        self.workers[worker] = self._spawn(f"join-{worker}", _join, arguments)

    def name_of(self, worker: int) -> str:
        """What the run calls it; "" before it says so."""
        path = self.folder / f"join-{worker}.err"
        found = re.findall(r"(worker-\d+) in the run", path.read_text()) if path.exists() else []
        return found[-1] if found else ""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Look until it holds.

        Raises:
            BenchmarkError: SW-B104; the run has ended before.
        """
        while not condition():
            if self.training is None or not self.training.is_alive():
                raise _ended(self.said)
            await asyncio.sleep(_LOOK_S)

    async def end(self) -> int:
        """The initiator's exit code, once it has ended."""
        while self.training and self.training.is_alive():
            await asyncio.sleep(_LOOK_S)
        code = self.training.exitcode if self.training else None
        return -1 if code is None else code

    async def clear(self) -> None:
        """End whatever still runs."""
        for process in (*self.workers.values(), *([self.training] if self.training else [])):
            process.kill()
            process.join()
        await self._stack.aclose()

    def _start(self, log: str, arguments: list[str]) -> BaseProcess:
        return self._spawn(log, _command, [arguments])

    def _spawn(self, log: str, act: Callable[..., None], arguments: Sequence[object]) -> BaseProcess:
        process = self._context.Process(target=_logged, args=(str(self.folder / log), act, *arguments))
        process.start()
        return process


@asynccontextmanager
async def cluster(folder: Path, settings: Sequence[str]) -> AsyncIterator[Cluster]:
    """A cluster of which nothing is left afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, settings)
    try:
        yield made
    finally:
        await made.clear()


def _logged(log: str, act: Callable[..., None], *arguments: object) -> None:
    """In the new process: both streams go into files, and nobody asks this one anything."""
    for stream, ending in ((1, "out"), (2, "err")):
        file = os.open(f"{log}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, stream)
        os.close(file)
    act(*arguments)


def _command(arguments: list[str]) -> None:
    from shieldwall.cli import main

    sys.argv = ["shieldwall", *arguments]
    main()


def _join(ticket: str, home: Path) -> None:
    from shieldwall.run.machines.worker import Joining, join

    tell = functools.partial(print, file=sys.stderr, flush=True)
    join(ticket, Joining(home=home, device="cpu", tell=tell, on_message=functools.partial(trap.watch, home)))


def _ended(said: str) -> BenchmarkError:
    return BenchmarkError(
        "SW-B104",
        "a run over machines has ended before it was to",
        expected="a run that goes on",
        got=said[-2000:],
        remedy="look at what it said last",
    )
