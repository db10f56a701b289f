"""What the rows of the step in work have said, gathered until its commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from shieldwall.core.ids import Direction, Role, Slot
from shieldwall.core.statements import GradientClaim, Header, Settlement, StateOpening, StateSeal
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.ledger.parsing import CORRECTION
from shieldwall.verify.ledger.records import ViewRecord
from shieldwall.verify.ledger.rows import Row

Place: TypeAlias = tuple[int, int, Direction, int]
"""Micro-batch, attempt, direction, stage: where a tensor belongs in a step."""

Keeping: TypeAlias = tuple[int, Role]
"""Stage and role: as what somebody holds a state."""


class Said(NamedTuple):
    """A statement and the row that it stands in."""

    row: Row
    statement: Any


def place_of(slot: Slot) -> Place:
    """Where a slot belongs in its step."""
    return slot.micro_batch, slot.attempt, slot.direction, slot.stage


@dataclass(slots=True)
class StepBook:
    """The statements of one step that count towards its commit."""

    headers: dict[Place, list[Said]] = field(default_factory=lambda: defaultdict(list))
    settlements: dict[Place, list[Said]] = field(default_factory=lambda: defaultdict(list))
    corrections: dict[Place, Said] = field(default_factory=dict)
    claims: dict[Keeping, list[Said]] = field(default_factory=lambda: defaultdict(list))
    seals: dict[Keeping, list[Said]] = field(default_factory=lambda: defaultdict(list))
    openings: dict[Keeping, list[Said]] = field(default_factory=lambda: defaultdict(list))
    verdicts: list[Verdict] = field(default_factory=list)

    def add(self, row: Row, statement: Any) -> None:
        """Take a row of this step; kinds that decide nothing are left out."""
        said = Said(row, statement)
        if row.kind == CORRECTION:
            self.corrections[place_of(statement.slot)] = said
        elif isinstance(statement, Header):
            self.headers[place_of(statement.slot)].append(said)
        elif isinstance(statement, Settlement):
            self.settlements[place_of(statement.slot)].append(said)
        elif isinstance(statement, GradientClaim | StateSeal | StateOpening):
            kept = {GradientClaim: self.claims, StateSeal: self.seals, StateOpening: self.openings}[type(statement)]
            kept[statement.holding.stage, statement.holding.role].append(said)
        elif isinstance(statement, Verdict):
            self.verdicts.append(statement)

    def final_attempts(self, initiator: str) -> dict[int, int]:
        """Micro-batch to its highest attempt, which is the one that counts.

        Attempts are the initiator's to raise, so its own headers say which there were: the first stage is always its.
        """
        own = {place for place, said in self.headers.items() if any(each.row.signer == initiator for each in said)}
        final: dict[int, int] = {}
        for micro_batch, attempt, direction, _ in own | set(self.corrections):
            if direction is not Direction.EVALUATION:
                final[micro_batch] = max(attempt, final.get(micro_batch, attempt))
        return final

    def finds(self, place: Place, source: str, root: str) -> bool:
        """Whether a verdict finds that `root` is the right one for a place and that its maker is not the culprit."""
        micro_batch, attempt, direction, stage = place
        return any(
            (verdict.micro_batch, verdict.attempt, verdict.stage) == (micro_batch, attempt, stage)
            and verdict.direction.value == direction.value
            and verdict.expected == root
            and verdict.culprit != source
            for verdict in self.verdicts
        )

    def culprits(self, stage: int, *directions: CaseDirection) -> set[str]:
        """Who was found guilty in this step over what is kept of a stage."""
        return {
            verdict.culprit for verdict in self.verdicts if verdict.stage == stage and verdict.direction in directions
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments:
    """Who may speak for what.

    `views` are all views so far by their numbers, `current` is the one in force.
    """

    initiator: str
    views: Mapping[int, ViewRecord]
    current: ViewRecord

    def holder(self, view: int, stage: int) -> str | None:
        """Who held a stage in a view."""
        return self.views[view].holders.get(stage) if view in self.views else None

    def settlers(self, view: int, stage: int) -> set[str]:
        """Who may settle a slot of a view: its checker, whoever took the duty over later, and the initiator.

        Empty where the stage had no checker: nothing needs to be settled.
        """
        if stage not in self.views[view].checkers:
            return set()
        heirs = {
            each.checkers[stage] for number, each in self.views.items() if number >= view and stage in each.checkers
        }
        return (heirs | {self.initiator}) - {self.holder(view, stage)}

    @property
    def stages(self) -> int:
        """How many stages the model is cut into."""
        return len(self.current.holders)
