"""What an experiment has run already, one line of JSON for each run, so that it can be stopped and go on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shieldwall.core.files import storing, write_whole
from shieldwall.core.lines import read_lines

Row = dict[str, Any]
"""One run: its number, what was drawn, and what came of it."""


@dataclass(frozen=True)
class Journal:
    """A file that only grows.

    Raises:
        StorageError: SW-S101; the disk refused.
    """

    path: Path

    def rows(self) -> dict[int, Row]:
        """Number to row, up to the first line that is damaged; what follows it is run again."""
        return {int(row["number"]): row for row in read_lines(self.path).lines}

    def mend(self) -> None:
        """Take away what was cut off in the middle, so that the next row begins a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, "".join(_line(row) for row in self.rows().values()).encode())

    def add(self, row: Row) -> None:
        """Put `row` at the end."""
        with storing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"
