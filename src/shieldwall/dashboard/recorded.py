"""What a run has written down so far, read as plain JSON and never written to; the run may be going on meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shieldwall.core.errors import RunFolderError
from shieldwall.core.lines import read_lines, refuse_constant

_NUMBERS = ("step", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "seconds")
_COUNTS = ("alerts", "micro_batches_rerun", "attacks_fired", "false_accusations")
_VERDICT_KEYS = {"step", "direction", "stage", "culprit", "rule"}
_STEP_FOLDER = re.compile(r"step-(\d+)")
Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SavedState:
    """A whole checkpoint."""

    steps: int
    """Committed steps in it."""
    size_bytes: int


def read_metrics_lines(path: Path) -> tuple[Line, ...]:
    """The lines of `metrics.jsonl`; a last one without its end is being written, or was when the run was killed.

    Raises:
        RunFolderError: SW-R107; a line is not what a run writes. SW-R108; there is no whole line yet.
    """
    lines = _whole_lines(path)
    for number, line in enumerate(lines, 1):
        for name in (*_NUMBERS, *({"eval_perplexity"} & line.keys())):
            if type(line.get(name)) not in (int, float):
                raise garbled(path, f"line {number}: {name} is {line.get(name)!r}", "a number")
        if not _is_news(line):
            raise garbled(path, f"line {number}: alerts or verdicts", "a count, and rows as summary.json holds them")
        if line["step"] != number - 1 or not line["seconds"] > 0:
            got = f"line {number}: step {line['step']}, seconds {line['seconds']}"
            raise garbled(path, got, f"step {number - 1}, and more than 0 seconds")
    if not lines:
        raise RunFolderError(
            "SW-R108",
            "the run has not committed a step yet",
            where=str(path),
            expected="a line for each committed step",
            got="none",
            remedy="wait for the first step; a run that was stopped goes on with shieldwall train --run DIR --resume",
        )
    return lines


def read_trace_lines(path: Path) -> tuple[Line, ...]:
    """The lines of `trace.jsonl`; none where the run is of a version that wrote no such file.

    Raises:
        RunFolderError: SW-R107; a line is not what a run writes.
    """
    lines = _whole_lines(path)
    for number, line in enumerate(lines, 1):
        if type(line.get("step")) is not int or not isinstance(line.get("cut"), list) or not _is_work(line.get("work")):
            raise garbled(path, f"line {number}", "step, cut, and work as lists of an action, its start and its end")
    return lines


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        RunFolderError: SW-R107; it is not there or not what a run writes.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
    except FileNotFoundError as error:
        raise garbled(path, "no such file", "what the run wrote") from error
    except ValueError as error:
        raise garbled(path, str(error), "what the run wrote") from error
    if not isinstance(found, dict):
        raise garbled(path, type(found).__name__, "an object")
    return found


def list_checkpoints(folder: Path) -> tuple[SavedState, ...]:
    """The whole checkpoints in `checkpoints/`, in order; one that the run removes meanwhile is left out."""
    found = []
    for path in folder.glob("step-*"):
        match = _STEP_FOLDER.fullmatch(path.name)
        size_bytes = _size_bytes(path) if match else None
        if match and size_bytes is not None:
            found.append(SavedState(int(match[1]), size_bytes))
    return tuple(sorted(found, key=lambda state: state.steps))


def garbled(path: Path, got: str, expected: str) -> RunFolderError:
    """The error for a file that is not what a run wrote."""
    return RunFolderError(
        "SW-R107",
        "a file of the run cannot be read",
        where=str(path),
        expected=expected,
        got=got,
        remedy="put the file back as the run wrote it; a report needs each of its lines",
    )


def _whole_lines(path: Path) -> tuple[Line, ...]:
    found = read_lines(path)
    if found.damage:
        raise garbled(path, found.damage, "a JSON object in each line")
    return found.lines


def _is_news(line: Line) -> bool:
    """Whether what the shield saw can be counted and told."""
    counts = [line.get(name, 0) for name in _COUNTS]
    verdicts = line.get("verdicts", [])
    return (
        all(type(count) is int for count in counts)
        and isinstance(verdicts, list)
        and all(isinstance(row, dict) and row.keys() >= _VERDICT_KEYS for row in verdicts)
    )


def _is_work(work: object) -> bool:
    return isinstance(work, dict) and all(
        isinstance(passes, list) and all(_is_pass(done) for done in passes) for passes in work.values()
    )


def _is_pass(done: object) -> bool:
    return isinstance(done, list) and [type(part) for part in done] in ([str, float, float], [str, int, float])


def _size_bytes(folder: Path) -> int | None:
    """Size of all files in it; None where the run removes it at this moment."""
    try:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) or None
    except FileNotFoundError:
        return None
