"""The course of a step under oversight: file, join, close cases, correct, and seal the record.

A case is about one slot. In a pass that settles before use it is closed at once, because a lane waits for it: the
consumer and the holder of the consumer's duplicate are sent the right tensor. In a pass that settles before the commit
everything goes on; when all lanes are played the join finds what did not settle, each such slot is judged by the input
that was signed for it, and micro-batches in which somebody worked on a wrong tensor are run again (design 4.3 to 4.6).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shieldwall.core.ids import INITIATOR, Direction, Slot
from shieldwall.core.messages import Committed, NonFinite, Note, StateReport, View
from shieldwall.core.oversight import Assignment, Correspondence, Findings, Response, StepAbandoned
from shieldwall.core.signing import Identity
from shieldwall.core.statements import Alert, Halt, Inquiry, Refusal
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.court.book import VerdictBook
from shieldwall.verify.court.hearing import Hearing
from shieldwall.verify.court.pieces import keep_case
from shieldwall.verify.court.recompute import Recompute
from shieldwall.verify.court.record import Record, StepRecord
from shieldwall.verify.court.referee import Judged
from shieldwall.verify.court.slot_cases import SlotCases
from shieldwall.verify.slots import causal_order, entry_of


class Court:
    """The initiator's judgement over one run.

    Args:
        identity: the initiator's name and key.
        recompute: repeats a stage's work.
        record: remembers what was said and found.
        state_roots: root of each checked stage's state before the first step, computed by the initiator.
        bans: whether a culprit's word counts for nothing from its first verdict on; it is expelled after the step.
        response: what becomes of a step in which something is wrong.
    """

    def __init__(
        self,
        identity: Identity,
        recompute: Recompute,
        record: Record,
        state_roots: Mapping[int, str],
        *,
        bans: bool = False,
        response: Response = Response.REPAIR,
    ) -> None:
        self.response = response
        self.book = VerdictBook(identity, record, bans=bans)
        self.hearing = Hearing(recompute, record, state_roots)
        self._cases = SlotCases(identity, self.hearing, self.book, repairs=response is not Response.NONE)
        self._record = record
        self._urgent: list[Slot] = []
        self._void: set[int] = set()
        self._stopped_at: set[Slot] = set()
        """Slots for whose sake a micro-batch was left out."""
        self._joined = False

    def see_view(self, view: View, state_roots: Mapping[int, str]) -> None:
        """Who holds what from now on, and everybody's keys.

        `state_roots` are of stages that are checked from now on and were the initiator's alone before.
        """
        self.hearing.see_view(view, state_roots)
        self._record.add_view(view, state_roots)

    def file(self, note: Note) -> None:
        """A statement has come in; what does not count, or comes after the join, is not recorded."""
        slot = getattr(note.signed.statement, "slot", None)
        if slot is None or self._joined or not self.hearing.has(slot) or not self.hearing.records.file(note.signed):
            return
        self._record.add(note.signed)
        statement = note.signed.statement
        if isinstance(statement, (Alert, Inquiry, Refusal, Halt)):
            self.book.alerts += not isinstance(statement, Halt)
            self._urgent.append(statement.slot)

    @property
    def abandons(self) -> bool:
        """Whether what is in work is thrown away once something is wrong; an evaluation never is."""
        return self.response is Response.ABANDON and self.hearing.work.training

    def begin(self, assignment: Assignment) -> None:
        """Lanes are about to be played."""
        self.hearing.begin(assignment)
        self._joined = False
        self._urgent.clear()
        self._void.clear()
        self._stopped_at.clear()

    async def attend(self, talk: Correspondence) -> Findings:
        """Close what a lane waits for; a micro-batch that somebody cannot go on with is left out."""
        before, too_early = set(self._void), list[Slot]()
        while self._urgent:
            slot = self._urgent.pop(0)
            if not self.hearing.has(slot):
                continue
            halted, refused = (bool(self.hearing.records.complaints(slot, kind)) for kind in (Halt, Refusal))
            if (halted or refused) and not self.hearing.work.settles_before_use:
                self._void.add(slot.micro_batch)
                self._stopped_at.add(slot)
            elif not await self._can_be_judged(slot, talk, halted=halted, refused=refused):
                too_early.append(slot)
            elif self.hearing.work.settles_before_use:
                judged = await self._cases.close(slot, talk)
                if isinstance(judged, NonFinite):
                    return Findings(broken=judged)
                if self.abandons:
                    raise StepAbandoned({slot.stage}, self._complainants({slot}))
                await self._cases.correct(slot, await self._cases.as_it_stands(slot, judged, talk), talk)
        self._urgent += too_early
        return Findings(again=tuple(sorted(self._void - before)))

    async def conclude(self, talk: Correspondence) -> Findings:
        """All lanes are played: join every slot, in causal order, and close what did not settle.

        While a case is gathered somebody may speak about a slot that was settled before; the join is over when all
        are, one look after the other.
        """
        again, wrong, closed, unsettled = set(self._void), set[int](), set[Slot](), set[Slot]()
        while (slot := self._first_open(again, closed)) is not None:
            closed.add(slot)
            if slot.micro_batch in again and not await self._has_inputs(slot, talk):
                continue  # its micro-batch had stopped before: whatever was said about it is of no work
            judged = await self._cases.close(slot, talk)
            if isinstance(judged, NonFinite):
                if slot.micro_batch not in wrong:
                    return Findings(broken=judged)
                continue
            unsettled.add(slot)
            if judged.finding.tainted and not self._went_on_right(slot, judged):
                wrong.add(slot.micro_batch)
                again |= {slot.micro_batch} if self.response is not Response.NONE else set()
            else:
                self._cases.let_stand(slot, judged)
        if self.abandons and (unsettled or again):
            # Who stopped a micro-batch before there was work to judge goes for that alone: else it stops every attempt.
            complainants = self._complainants(unsettled | self._stopped_at)
            raise StepAbandoned({slot.stage for slot in unsettled}, complainants)
        self._joined = not again
        return Findings(again=tuple(sorted(again)))

    def _complainants(self, slots: Collection[Slot]) -> set[str]:
        """Who complained of these slots."""
        return {complaint.signer for slot in slots for complaint in self.hearing.records.complaints(slot)}

    def _first_open(self, again: set[int], closed: set[Slot]) -> Slot | None:
        """The first slot of the pass, in causal order, that is neither settled nor closed; None if there is none."""
        work, first = self.hearing.work, self.hearing.slot(0, Direction.FORWARD, 0)
        for slot in causal_order(first, work.stages, work.micro_batches, training=work.training):
            settled = self.hearing.in_force.is_settled(slot, self.hearing.gatherer.source(slot))
            if not (settled or slot in closed or self._follows(slot, again)):
                return slot
        return None

    async def _can_be_judged(self, slot: Slot, talk: Correspondence, *, halted: bool, refused: bool) -> bool:
        """Whether the slot's maker has made something or stopped, or should have, and had what it takes to."""
        if not (halted or await self.hearing.gatherer.is_made(slot, talk) or (refused and self._is_due(slot))):
            return False
        return await self._has_inputs(slot, talk)

    async def _has_inputs(self, slot: Slot, talk: Correspondence) -> bool:
        """Whether what the slot's maker works on was made; before that there is nothing to judge the slot by."""
        inputs = [each for each in (self.hearing.gatherer.source(slot), entry_of(slot)) if each]
        return all([await self.hearing.gatherer.is_made(each, talk) for each in inputs])

    def _is_due(self, slot: Slot) -> bool:
        """Whether the slot's maker had what it takes: what it works on is settled."""
        inputs = [each for each in (self.hearing.gatherer.source(slot), entry_of(slot)) if each]
        return all(self.hearing.in_force.is_settled(each, self.hearing.gatherer.source(each)) for each in inputs)

    def _went_on_right(self, slot: Slot, judged: Judged) -> bool:
        """Whether nobody went on before the right tensor was settled, whatever else its maker signed for the slot."""
        settled = {(each.root_in, each.root_out) for each in self.hearing.records.settlements(slot)}
        right = settled == {(judged.root_in, judged.root)}
        return self.response is not Response.NONE and self.hearing.work.settles_before_use and right

    def _follows(self, slot: Slot, again: set[int]) -> bool:
        """Whether nothing was made for the slot, because its micro-batch had stopped before or it makes a loss."""
        silent = not self.hearing.records.headers(slot) and not self.hearing.records.complaints(slot, Halt)
        makes_loss = slot.stage == self.hearing.work.stages - 1 and slot.direction is not Direction.BACKWARD
        return silent and (makes_loss or slot.micro_batch in again)

    def end_step(
        self,
        state_roots: Mapping[int, str],
        *,
        clip_coefficients: Mapping[int, float],
        learning_rate: float,
        norm: float,
    ) -> str:
        """The step is whole: make it durable, and forget it."""
        head = self._record.commit(
            StepRecord(
                step=self.hearing.work.step,
                attempt=max(self.hearing.attempts),
                micro_batches=len(self.hearing.attempts),
                state_roots={**self.hearing.state_roots, **state_roots},
                clip_coefficients=clip_coefficients,
                learning_rate=learning_rate,
                norm=norm,
            )
        )
        self.hearing.state_roots.update(state_roots)
        self.hearing.forget()
        self._cases.forget()
        self._urgent.clear()
        return head

    def take_receipts(self, reports: Sequence[Committed]) -> None:
        """The step is committed everywhere; keep the countersignatures that are their signers'."""
        for report in reports:
            if report.receipt and report.host != INITIATOR and self.hearing.records.holds(report.receipt):
                self._record.add(report.receipt)

    def accept(self, report: StateReport) -> bool:
        """Whether a served state is the one that is in force; where it is not, that is a case."""
        expected = self.hearing.state_roots.get(report.stage)
        if expected is None:
            return True
        got = self.hearing.recompute.state_root(report.stage, report.state)
        if got == expected:
            return True
        work = self.hearing.work
        about = {"step": work.step, "stage": report.stage}
        self.book.alerts += 1
        self.book.convict(
            Verdict(
                run=work.run,
                view=work.view.view,
                attempt=work.attempt,
                step=work.step,
                micro_batch=None,
                direction=CaseDirection.STATE,
                stage=report.stage,
                culprit=report.host,
                rule=5,
                accuser=INITIATOR,
                expected=expected,
                got=got,
                reason=f"{report.host} served another state than the one that was co-signed",
                evidence=keep_case(self._record, {}, report.state, about),
            )
        )
        return False

    def fits(self, stage: int, roots: Mapping[str, str]) -> bool | None:
        """Whether tensors with these roots are the state that is in force; None where no root is co-signed, or none of
        the stage was ever taken here."""
        expected = self.hearing.state_roots.get(stage)
        got = self.hearing.recompute.listed_root(stage, roots)
        return None if expected is None or got is None else got == expected
