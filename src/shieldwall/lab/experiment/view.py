"""Where an experiment tells how far it is."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class GridView(Protocol):
    """Shows an experiment's grid."""

    def begin(self, total: int) -> None:
        """`total` cells are to be there in the end."""

    def playing(self, what: str) -> None:
        """A cell, or a base model, is begun."""

    def played(self) -> None:
        """A cell is finished, now or before."""

    def end(self) -> None:
        """The experiment is over, or was stopped."""


class SilentGrid:
    """Shows nothing."""

    def begin(self, total: int) -> None: ...

    def playing(self, what: str) -> None: ...

    def played(self) -> None: ...

    def end(self) -> None: ...


class BarGrid:
    """A bar over the grid with the name of the cell begun last and the time to go.

    Args:
        console: where to draw.
        name: of the experiment.
    """

    def __init__(self, console: Console, name: str) -> None:
        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(TextColumn(name), *columns, TextColumn("{task.description}"), console=console)
        self._task = TaskID(0)

    def begin(self, total: int) -> None:
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def playing(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def played(self) -> None:
        self._bar.advance(self._task)

    def end(self) -> None:
        self._bar.stop()
