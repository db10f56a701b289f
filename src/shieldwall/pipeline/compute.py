"""How a host runs the computation of an action."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from shieldwall.schedule import Action

T = TypeVar("T")


class Compute(Protocol):
    """Runs one action's work and gives its result."""

    @property
    def leaves_loop(self) -> bool:
        """Whether the event loop goes on while it computes, so that the host can hear and answer meanwhile."""

    async def run(self, action: Action, work: Callable[[], T]) -> T:
        """The result of `work`, which computes `action`."""


class InlineCompute:
    """Computes at once, on the event loop: right where all hosts share one processor."""

    leaves_loop = False

    async def run(self, action: Action, work: Callable[[], T]) -> T:
        del action
        return work()


class ThreadCompute:
    """Computes in one thread beside the event loop, so that the host hears, answers and beats while it computes."""

    leaves_loop = True

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._thread.submit(int).result()  # begun now: for one that finds no memory to begin Python waits for ever

    async def run(self, action: Action, work: Callable[[], T]) -> T:
        del action
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class PacedCompute:
    """Computes at once and lets each action last a set time, as if the host were a slower machine of its own.

    Args:
        seconds_of: duration of an action in seconds; if the work itself takes longer, that counts.
    """

    leaves_loop = True

    def __init__(self, seconds_of: Callable[[Action], float]) -> None:
        self._seconds_of = seconds_of

    async def run(self, action: Action, work: Callable[[], T]) -> T:
        clock = asyncio.get_running_loop().time
        end_s = clock() + self._seconds_of(action)
        result = work()
        await asyncio.sleep(max(0.0, end_s - clock()))
        return result
