"""Who takes part in a run over machines: `workers.json` in its folder, and the book of members where the run is not on.

working   there, and holds stages or duplicates      gone      cannot be reached any more
spare     there, and holds nothing yet               banned    the run has nothing more to do with it
left      took its leave, or the run is not on
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

import psutil
from pydantic import BaseModel, ConfigDict

from shieldwall.core.errors import RunFolderError
from shieldwall.core.files import write_whole
from shieldwall.run.memory import format_bytes
from shieldwall.transport.identity.book import Book
from shieldwall.transport.identity.members import Member, State

STATUS_FILE = "workers.json"
_SAME_PROCESS_S = 1.0


class WorkerState(StrEnum):
    """Where a worker stands in a run."""

    WORKING = "working"
    SPARE = "spare"
    GONE = "gone"
    BANNED = "banned"
    LEFT = "left"

    @property
    def is_there(self) -> bool:
        """Whether it takes part now."""
        return self in (WorkerState.WORKING, WorkerState.SPARE)


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Deadlines(_Plain):
    """What a worker has to keep to."""

    silence_s: float
    """For how long it may say nothing before it counts as gone."""
    answer_s: float
    """For how long it may keep back an answer, or a tensor that others wait for, before it loses what it holds."""


class WorkerStatus(_Plain):
    """One worker of a run over machines."""

    name: str
    stages: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    """Stages of others that it checks."""
    state: WorkerState = WorkerState.GONE
    address: str | None = None
    """Where it dials from, HOST:PORT; None where it is not connected."""
    pid: int | None = None
    """Of its process, where that is on the initiator's machine."""
    speed: float | None = None
    """How many times as fast as the initiator it says it is; None where it is not there."""
    memory_bytes: int | None = None
    """What it says it could take of memory before it held anything."""
    ways: dict[str, str] = {}
    """How its messages go to each other worker, by its own word: "direct", or "relayed: " and why. Empty in a star."""
    deadlines: Deadlines | None = None
    """None where the run has not told any."""
    why: str = ""
    """Why it is banned."""

    def without_duties(self, state: WorkerState, why: str = "") -> WorkerStatus:
        """The same worker, which does not take part any more."""
        return WorkerStatus(name=self.name, state=state, deadlines=self.deadlines, why=why)


class RunProcess(_Plain):
    """The process of a run, told from a later one of the same number by when it was started."""

    pid: int
    started_s: float

    @classmethod
    def this(cls) -> Self:
        """The process that asks."""
        process = psutil.Process()
        return cls(pid=process.pid, started_s=process.create_time())

    def goes_on(self) -> bool:
        """Whether it is there still, on this machine."""
        try:
            started_s = float(psutil.Process(self.pid).create_time())
        except psutil.Error:
            return False
        return abs(started_s - self.started_s) < _SAME_PROCESS_S


class RunStatus(_Plain):
    """All of `workers.json`."""

    process: RunProcess
    workers: tuple[WorkerStatus, ...] = ()

    def write(self, path: Path) -> None:
        """Put it in the place of what was there.

        Raises:
            StorageError: SW-S101.
        """
        write_whole(path, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> RunStatus:
        """Read it back.

        Raises:
            RunFolderError: SW-R107; it is not what a run wrote.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValueError as error:
            raise RunFolderError(
                "SW-R107",
                "a file of the run cannot be read",
                where=str(path),
                expected="what the run wrote",
                got=str(error).splitlines()[0],
                remedy="remove it; a run that is on writes it anew as soon as a worker comes or goes",
            ) from error


def workers(run: Path) -> tuple[WorkerStatus, ...]:
    """Everybody who ever joined a run, by name; the run may be on or not.

    Args:
        run: the run's folder.

    Raises:
        IdentityError: SW-T212; it is no run that was started with `--listen`.
        RunFolderError: SW-R107; `workers.json` is not what the run wrote.
    """
    members = Book.open(run / "private").members()
    path = run / STATUS_FILE
    status = RunStatus.read(path) if path.exists() else None
    told = {worker.name: worker for worker in status.workers} if status else {}
    goes_on = status is not None and status.process.goes_on()
    found = (_now(told.get(member.name, WorkerStatus(name=member.name)), member, goes_on) for member in members)
    return tuple(sorted(found, key=lambda worker: natural(worker.name)))


def table(found: Sequence[WorkerStatus]) -> str:
    """The same for people: a line for each worker, and the deadlines once."""
    rows = [("worker", "state", "stages", "duplicates", "ways", "speed", "memory", "address", "pid")]
    rows += [
        (
            each.name,
            each.state.value,
            _numbers(each.stages),
            _numbers(each.duplicates),
            _kinds(each.ways),
            "-" if each.speed is None else f"{each.speed:.2g} x",
            "-" if each.memory_bytes is None else format_bytes(each.memory_bytes),
            each.address or "-",
            str(each.pid or "-"),
        )
        for each in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{each.name} is banned: {each.why}" for each in found if each.state is WorkerState.BANNED]
    silences = sorted({each.deadlines.silence_s for each in found if each.deadlines})
    lines += [f"a worker that is silent for {silence_s:.1f} s is gone" for silence_s in silences]
    answers = sorted({each.deadlines.answer_s for each in found if each.deadlines})
    lines += [f"one that keeps an answer back for {_span(answers)} s loses what it holds"] if answers else []
    return "\n".join(lines)


def natural(name: str) -> list[str | int]:
    """A key that sorts worker-10 behind worker-9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def _span(numbers: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{number:.1f}" for number in (numbers[0], numbers[-1])))


def _numbers(stages: Sequence[int]) -> str:
    return ", ".join(map(str, stages)) or "-"


def _kinds(ways: Mapping[str, str]) -> str:
    """How many of them are of each kind."""
    direct = sum(way == "direct" for way in ways.values())
    counts = {"direct": direct, "relayed": len(ways) - direct}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "-"


def _now(told: WorkerStatus, member: Member, goes_on: bool) -> WorkerStatus:
    """What the run has told last of a worker, corrected by what may have changed since."""
    if member.state is State.BANNED:
        return told.without_duties(WorkerState.BANNED, member.why)
    if member.state is State.LEFT or (told.state.is_there and not goes_on):
        return told.without_duties(WorkerState.LEFT)
    return told
