"""What is kept of a small training: its record while it goes on, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shieldwall.core.ids import Role
from shieldwall.core.messages import StageState, View
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header, Refusal
from shieldwall.core.verdicts import Verdict
from shieldwall.run.responder import Course
from shieldwall.verify.court import Court
from shieldwall.verify.court.record import StepRecord


class MemoryRecord:
    """Remembers a run in lists."""

    def __init__(self) -> None:
        self.statements: list[Signed[Any]] = []
        self.commits: list[StepRecord] = []
        self.events: list[Verdict | Refusal | int] = []
        """Verdicts and refusals in the order in which they were recorded, with the number of each step as it was
        committed between them."""

    def add(self, signed: Signed[Any]) -> None:
        self.statements.append(signed)
        if isinstance(signed.statement, (Verdict, Refusal)):
            self.events.append(signed.statement)

    def add_view(self, view: View, state_roots: Mapping[int, str]) -> None:
        del view, state_roots

    def keep_evidence(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
        del tensors, about
        return ""

    def correct(self, header: Signed[Header]) -> None:
        self.statements.append(header)

    def commit(self, step: StepRecord) -> str:
        self.commits.append(step)
        self.events.append(step.step)
        return "head"


@dataclass(frozen=True)
class Trained:
    """Weights by name and mean loss of each step."""

    # Not in the repr: asyncio writes that of a task's result when it puts back a handler of signals.
    weights: dict[str, Tensor] = field(repr=False)
    losses: list[float]
    court: Court | None = field(default=None, repr=False)
    rerun: int = 0
    """Micro-batches that were run again."""
    courses: list[Course] = field(default_factory=list, repr=False)
    """How each step came to its commit."""
    copies: dict[tuple[Role, int], StageState] = field(default_factory=dict, repr=False)
    """At the end, the state of each stage and duplicate, of runs that respond otherwise than by repair."""
    record: MemoryRecord = field(default_factory=MemoryRecord, repr=False)

    @property
    def verdicts(self) -> list[Verdict]:
        """Of a run that was checked; empty for one that was not."""
        return self.court.book.verdicts if self.court else []

    @property
    def alerts(self) -> int:
        """Of a run that was checked; 0 for one that was not."""
        return self.court.book.alerts if self.court else 0

    @property
    def refusals(self) -> list[Refusal]:
        """What was refused before use."""
        return [event for event in self.record.events if isinstance(event, Refusal)]
