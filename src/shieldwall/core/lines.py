"""Files of one JSON object a line, which grow line by line: read as far as they are whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class WrittenLines:
    """What such a file holds; whether damage is refused or what is before it will do is for the reader to say."""

    lines: tuple[dict[str, Any], ...]
    """The objects up to the first line that is none."""
    damage: str = ""
    """Which line that is and what is wrong with it; empty where all of them are objects."""


def read_lines(path: Path) -> WrittenLines:
    """The lines of `path`; none where there is no file.

    A last line without its end is no damage: it is being written, or was when its writer was killed, and is left out.
    """
    if not path.exists():
        return WrittenLines(())
    lines: list[dict[str, Any]] = []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    for number, text in enumerate(whole.splitlines(), 1):
        try:
            line = json.loads(text, parse_constant=refuse_constant)
        except ValueError as error:
            return WrittenLines(tuple(lines), f"line {number}: {error}")
        if not isinstance(line, dict):
            return WrittenLines(tuple(lines), f"line {number}: {type(line).__name__}")
        lines.append(line)
    return WrittenLines(tuple(lines))


def refuse_constant(name: str) -> float:
    """For `json.loads`: NaN and infinity, which JSON does not have, are no numbers.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no number that a run writes")
