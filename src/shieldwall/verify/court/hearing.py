"""What the court knows of the step in work: the pass, what was said, what is in force, and where to ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import View
from shieldwall.core.oversight import Assignment, Correspondence
from shieldwall.verify.court.evidence import Gatherer
from shieldwall.verify.court.forced import InForce
from shieldwall.verify.court.recompute import MicroBatchWork, Recompute
from shieldwall.verify.court.record import Record
from shieldwall.verify.court.records import Records
from shieldwall.verify.slots import entry_of


class Hearing:
    """The step in work.

    Args:
        recompute: repeats a stage's work.
        record: remembers what was said and found.
        state_roots: root of each checked stage's state before the first step, computed by the initiator.
    """

    def __init__(self, recompute: Recompute, record: Record, state_roots: Mapping[int, str]) -> None:
        self.recompute = recompute
        self.record = record
        self.records = Records()
        self.in_force = InForce(self.records)
        self.state_roots = dict(state_roots)
        """Root of each checked stage's state in force."""
        self._last_attempt: dict[int, Slot] = {}
        self.begin(Assignment(run="", view=View(view=-1, holders={}, checkers={}, keys={}, arithmetic="")))

    def see_view(self, view: View, state_roots: Mapping[int, str]) -> None:
        """Who holds what from now on, and everybody's keys; what the initiator holds itself needs no root.

        `state_roots` are of stages that need one from now on and did not before.
        """
        self.records.see_view(view)
        kept = {*view.checkers, *view.bypassed}
        self.state_roots = {stage: root for stage, root in self.state_roots.items() if stage in kept}
        self.state_roots |= state_roots

    def begin(self, assignment: Assignment) -> None:
        """Lanes are about to be played."""
        self.work = assignment
        self.gatherer = Gatherer(
            assignment.view,
            assignment.stages,
            self.records,
            self.in_force,
            self.recompute,
            self.state_roots,
            self.record,
        )
        for micro_batch in assignment.micro_batches if assignment.training else ():
            self._last_attempt[micro_batch] = self.slot(micro_batch, Direction.FORWARD, 0)

    def slot(self, micro_batch: int, direction: Direction, stage: int) -> Slot:
        """A slot of the pass in work."""
        return Slot(
            run=self.work.run,
            view=self.work.view.view,
            attempt=self.work.attempt,
            step=self.work.step,
            micro_batch=micro_batch,
            direction=direction,
            stage=stage,
        )

    def has(self, slot: Slot) -> bool:
        """Whether the pass in work has such a slot; a complaint can name any."""
        work = self.work
        here = self.slot(slot.micro_batch, slot.direction, slot.stage)
        runs_back = slot.direction is Direction.BACKWARD
        fits = (slot.direction is not Direction.EVALUATION) if work.training else not runs_back
        return slot == here and fits and slot.micro_batch in work.micro_batches and 0 <= slot.stage < work.stages

    @property
    def attempts(self) -> list[int]:
        """For each micro-batch of the step, the number of its last attempt."""
        return [slot.attempt for slot in self._last_attempt.values()]

    async def step_work(self, stage: int, talk: Correspondence) -> dict[int, MicroBatchWork]:
        """What a stage worked on in each micro-batch of the step, as it is in force."""
        work = {}
        for micro_batch, last in sorted(self._last_attempt.items()):
            slot = replace(last, direction=Direction.BACKWARD, stage=stage)
            if entry_of(slot) is not None:
                work[micro_batch] = await self.gatherer.work(slot, talk, self.work.positions)
        return work

    def forget(self) -> None:
        """The step is over."""
        self.records.forget()
        self.in_force.forget()
        self._last_attempt.clear()
