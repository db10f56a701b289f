"""Where a benchmark tells how far it is."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


def bars() -> Progress:
    """What a program of the lab shows on standard error while it works: how many pieces of how many, for how long."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


class Ticker(Protocol):
    """Counts what a benchmark has done."""

    def begin(self, what: str, total: int) -> None:
        """`total` pieces of work lie ahead."""

    def tick(self) -> None:
        """One of them is done."""


class SilentTicker:
    """Shows nothing."""

    def begin(self, what: str, total: int) -> None: ...

    def tick(self) -> None: ...


class BarTicker:
    """A bar for each benchmark.

    Args:
        progress: where the bars are; the caller starts and stops it.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = TaskID(0)

    def begin(self, what: str, total: int) -> None:
        self._task = self._progress.add_task(what, total=total)

    def tick(self) -> None:
        self._progress.advance(self._task)
