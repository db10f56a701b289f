"""The slots of a pass, in causal order; what each is made from, and who uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from shieldwall.core.ids import Direction, Slot


class Duties(Protocol):
    """Who holds and who checks each stage, as a view or its record in the ledger says."""

    @property
    def holders(self) -> Mapping[int, str]:
        """Stage to its host."""

    @property
    def checkers(self) -> Mapping[int, str]:
        """Stage to the host of its duplicate."""


def causal_order(first: Slot, stages: int, micro_batches: tuple[int, ...], *, training: bool) -> Iterator[Slot]:
    """Every slot of the pass: micro-batch by micro-batch, forward down the stages, then backward up.

    The last stage's forward slot is among them: no tensor travels from it, but its loss may not be finite.

    Args:
        first: any slot of the pass; run, view, attempt and step are taken from it.
        stages: K.
        micro_batches: those that the pass runs.
        training: whether there is a backward pass.
    """
    forward = Direction.FORWARD if training else Direction.EVALUATION
    for micro_batch in micro_batches:
        for stage in range(stages):
            yield replace(first, micro_batch=micro_batch, direction=forward, stage=stage)
        for stage in range(stages - 1, 0, -1) if training else ():
            yield replace(first, micro_batch=micro_batch, direction=Direction.BACKWARD, stage=stage)


def made_from(slot: Slot, stages: int) -> Slot | None:
    """The slot of the tensor that came in; None at the ends, which work on the initiator's own data."""
    source = slot.stage + 1 if slot.direction is Direction.BACKWARD else slot.stage - 1
    return replace(slot, stage=source) if 0 <= source < stages else None


def entry_of(slot: Slot) -> Slot | None:
    """For a slot of the backward pass: the slot of the activation that the stage had worked on."""
    if slot.direction is not Direction.BACKWARD or slot.stage == 0:
        return None
    return replace(slot, direction=Direction.FORWARD, stage=slot.stage - 1)


def used_by(slot: Slot) -> int:
    """The stage that uses the slot's tensor."""
    return slot.stage - 1 if slot.direction is Direction.BACKWARD else slot.stage + 1


def users_of(slot: Slot, duties: Duties) -> set[str]:
    """Hosts that work on the slot's tensor: the holder of the stage that uses it, and the one of its duplicate."""
    user = used_by(slot)
    return {host for host in (duties.holders.get(user), duties.checkers.get(user)) if host}
