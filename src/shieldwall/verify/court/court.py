"""The course of a step under oversight: file, join, close cases, correct, and seal the record.

A case is about one slot. In a pass that settles before use it is closed at once, because a lane waits for it: the
consumer and the holder of the consumer's duplicate are sent the right tensor. In a pass that settles before the commit
everything goes on; when all lanes are played the join finds what did not settle, each such slot is judged by the input
that was signed for it, and micro-batches in which somebody worked on a wrong tensor are run again (design 4.3 to 4.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shieldwall.core.ids import INITIATOR, Direction, Slot
from shieldwall.core.messages import Committed, Correct, NonFinite, Note, StageState, StateReport, View
from shieldwall.core.oversight import Assignment, Correspondence, Findings
from shieldwall.core.roots import dtype_name
from shieldwall.core.signing import Identity
from shieldwall.core.statements import Alert, Halt, Header, Inquiry, Refusal
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.court.evidence import Gatherer
from shieldwall.verify.court.forced import InForce
from shieldwall.verify.court.pieces import keep_case
from shieldwall.verify.court.recompute import MicroBatchWork, Recompute
from shieldwall.verify.court.record import Record, StepRecord
from shieldwall.verify.court.records import Records
from shieldwall.verify.court.referee import Evidence, Finding, Judged, judge
from shieldwall.verify.court.slots import causal_order, entry_of, used_by

WITHHOLDING = 4
"""The rule of what is missing."""


class Court:
    """The initiator's judgement over one run.

    Args:
        identity: the initiator's name and key.
        recompute: repeats a stage's work.
        record: remembers what was said and found.
        state_roots: root of each checked stage's state before the first step, computed by the initiator.
        bans: whether a culprit's word counts for nothing from its first verdict on; it is expelled after the step.
        repairs: whether what is wrong is made right; where not, what was signed stands.
    """

    def __init__(
        self,
        identity: Identity,
        recompute: Recompute,
        record: Record,
        state_roots: Mapping[int, str],
        *,
        bans: bool = False,
        repairs: bool = True,
    ) -> None:
        self._identity = identity
        self._recompute = recompute
        self._record = record
        self.state_roots = dict(state_roots)
        self._records = Records()
        self._in_force = InForce(self._records)
        self._pass = Assignment(run="", view=View(view=-1, holders={}, checkers={}, keys={}, arithmetic=""))
        self._gatherer = self._gather_in(self._pass)
        self._urgent: list[Slot] = []
        self._void: set[int] = set()
        self._judged: dict[Slot, Judged] = {}
        self._last_attempt: dict[int, Slot] = {}
        self._bans = bans
        self.repairs = repairs
        self.condemned: set[str] = set()
        """Culprits who are expelled once the step is committed."""
        self._expelled: set[str] = set()
        self.verdicts: list[Verdict] = []
        self.alerts = 0
        """Statements that somebody's work is not what it should be, and joins that did not fit."""

    # filing

    def see_view(self, view: View) -> None:
        """Who holds what from now on, and everybody's keys; what the initiator holds itself needs no root."""
        self._records.see_view(view)
        self.state_roots = {stage: root for stage, root in self.state_roots.items() if stage in view.checkers}
        self._record.add_view(view)

    def file(self, note: Note) -> None:
        """A statement has come in; what does not count is not recorded."""
        if not self._records.file(note.signed):
            return
        self._record.add(note.signed)
        statement = note.signed.statement
        if isinstance(statement, (Alert, Inquiry, Refusal, Halt)):
            self.alerts += not isinstance(statement, Halt)
            self._urgent.append(statement.slot)

    def begin(self, assignment: Assignment) -> None:
        """Lanes are about to be played."""
        self._pass = assignment
        self._urgent.clear()
        self._void.clear()
        self._gatherer = self._gather_in(assignment)
        for micro_batch in assignment.micro_batches if assignment.training else ():
            self._last_attempt[micro_batch] = self._slot(micro_batch, Direction.FORWARD, 0)

    def _gather_in(self, work: Assignment) -> Gatherer:
        return Gatherer(
            work.view,
            work.stages,
            self._records,
            self._in_force,
            self._recompute,
            self.state_roots,
            self._record,
        )

    # cases of slots

    async def attend(self, talk: Correspondence) -> Findings:
        """Close what a lane waits for; a micro-batch that somebody cannot go on with is left out."""
        before = set(self._void)
        while self._urgent:
            slot = self._urgent.pop(0)
            if (slot.step, slot.attempt) != (self._pass.step, self._pass.attempt):
                continue
            said = [each.statement for each in self._records.complaints(slot)]
            halted = any(isinstance(each, Halt) for each in said)
            refused = any(isinstance(each, Refusal) for each in said)
            if (halted or refused) and not self._pass.settles_before_use:
                self._void.add(slot.micro_batch)
            elif self._pass.settles_before_use:
                judged = await self._close(slot, talk)
                if isinstance(judged, NonFinite):
                    return Findings(broken=judged)
                if halted:
                    self._void.add(slot.micro_batch)
                else:
                    await self._correct(slot, await self._as_it_stands(slot, judged, talk), talk)
        return Findings(again=tuple(sorted(self._void - before)))

    async def conclude(self, talk: Correspondence) -> Findings:
        """All lanes are played: join every slot, in causal order, and close what did not settle."""
        again, wrong = set(self._void), set[int]()
        first = self._slot(0, Direction.FORWARD, 0)
        for slot in causal_order(first, self._pass.stages, self._pass.micro_batches, training=self._pass.training):
            if self._in_force.is_settled(slot, self._gatherer.source(slot)) or self._follows(slot, again):
                continue
            judged = await self._close(slot, talk)
            if isinstance(judged, NonFinite):
                if slot.micro_batch not in wrong:
                    return Findings(broken=judged)
                continue
            if judged.finding.tainted:
                wrong.add(slot.micro_batch)
                again |= {slot.micro_batch} if self.repairs else set()
            else:
                self._let_stand(slot, judged)
        return Findings(again=tuple(sorted(again)))

    def _follows(self, slot: Slot, again: set[int]) -> bool:
        """Whether nothing was made for the slot, because its micro-batch had stopped before or it makes a loss."""
        silent = not self._records.headers(slot) and not self._records.complaints(slot)
        makes_loss = slot.stage == self._pass.stages - 1 and slot.direction is not Direction.BACKWARD
        return silent and (makes_loss or slot.micro_batch in again)

    async def _close(self, slot: Slot, talk: Correspondence) -> Judged | NonFinite:
        """Judge a slot, once; a NaN that its stage had to make is nobody's."""
        if slot in self._judged:
            return self._judged[slot]
        gatherer, view = self._gatherer, self._pass.view
        maker, checker = view.holders[slot.stage], view.checkers.get(slot.stage, "")
        halts = [each for each in self._records.complaints(slot) if isinstance(each.statement, Halt)]
        if not checker:
            return NonFinite(host=maker, slot=slot, what=halts[0].statement.what if halts else "a tensor")
        work = await gatherer.work(slot, talk, self._pass.positions)
        tensor = await self._repeat(slot, work, talk)
        if halts and not bool(torch.isfinite(tensor).all()):
            return NonFinite(host=maker, slot=slot, what=halts[0].statement.what)
        source = gatherer.source(slot)
        root_in, root = self._in_force.root(source), tensor_root(tensor)
        entry = entry_of(slot)
        finding = judge(
            Evidence(
                slot=slot,
                maker=maker,
                checker=checker,
                headers=await gatherer.headers(slot, talk, (view.holders[used_by(slot)], maker)),
                source_headers=await gatherer.headers(source, talk, (maker, checker)),
                entry_headers=await gatherer.headers(entry, talk, (maker, checker)),
                entry_root=self._in_force.root(entry),
                entry_used=self._named_entry(slot) if entry else "",
                root_in=root_in,
                state_root=self.state_roots[slot.stage],
                computed_root=root,
                complaints=self._records.complaints(slot),
                settlement=self._records.settlement(slot),
            )
        )
        judged = self._judged[slot] = Judged(finding=finding, tensor=tensor, root=root, root_in=root_in)
        if finding.culprit and not self._is_known_false_accuser(finding, maker):
            self._find(slot, finding, work, await gatherer.state(slot.stage, talk))
        return judged

    def _named_entry(self, slot: Slot) -> str:
        """For a backward slot: the activation that its stage named in forward; what is in force if it was corrected."""
        forward = replace(slot, direction=Direction.FORWARD)
        headers = self._records.headers(forward)
        corrected = self._in_force.correction(forward) is not None
        return headers[0].statement.root_in if headers and not corrected else self._in_force.root(entry_of(slot))

    async def _repeat(self, slot: Slot, work: MicroBatchWork, talk: Correspondence) -> Tensor:
        state = await self._gatherer.state(slot.stage, talk)
        if slot.direction is Direction.BACKWARD:
            return self._recompute.gradient(slot.stage, state, slot.step, slot.micro_batch, work)
        return self._recompute.activation(
            slot.stage, state, slot.step, slot.micro_batch, work, training=self._pass.training
        )

    def _is_known_false_accuser(self, finding: Finding, maker: str) -> bool:
        """Whether the culprit only goes on accusing after its first verdict; its word has no weight any more."""
        return finding.culprit in self.condemned and finding.culprit != maker

    def _find(self, slot: Slot, finding: Finding, work: MicroBatchWork, state: StageState) -> None:
        about = {"step": slot.step, "stage": slot.stage, "training": self._pass.training}
        self.convict(
            Verdict(
                run=slot.run,
                view=slot.view,
                attempt=slot.attempt,
                step=slot.step,
                micro_batch=slot.micro_batch,
                direction=CaseDirection(slot.direction.value),
                stage=slot.stage,
                culprit=finding.culprit,
                rule=finding.rule,
                accuser=finding.accuser,
                expected=finding.expected,
                got=finding.got,
                reason=finding.reason,
                evidence=keep_case(self._record, {slot.micro_batch: work}, state, about),
            )
        )

    def convict(self, verdict: Verdict) -> None:
        """Record a verdict; a lost message is a fault without a penalty."""
        self.verdicts.append(verdict)
        self._record.add(self._identity.sign(verdict))
        if self._bans and verdict.rule != WITHHOLDING:
            self.condemned.add(verdict.culprit)

    async def _as_it_stands(self, slot: Slot, judged: Judged, talk: Correspondence) -> Judged:
        """Where nothing is repaired: what the maker signed, if it can be used at all."""
        if self.repairs:
            return judged
        shown = await talk.show(self._pass.view.holders[slot.stage], slot)
        if shown.tensor is None or shown.header is None or shown.tensor.shape != judged.tensor.shape:
            return judged
        return replace(judged, tensor=shown.tensor, root=tensor_root(shown.tensor))

    async def _correct(self, slot: Slot, judged: Judged, talk: Correspondence) -> None:
        """Put the right tensor in the place of what came, with those who use it."""
        users = {self._pass.view.holders[used_by(slot)], self._pass.view.checkers.get(used_by(slot), INITIATOR)}
        order = Correct(header=self._let_stand(slot, judged, tuple(sorted(users))), tensor=judged.tensor)
        for host in sorted(users):
            await talk.order(host, order)

    def _let_stand(self, slot: Slot, judged: Judged, destinations: tuple[str, ...] = ()) -> Any:
        """Sign for the slot in the initiator's name."""
        header = self._identity.sign(
            Header(
                slot=slot,
                source=INITIATOR,
                destinations=destinations,
                shape=tuple(judged.tensor.shape),
                dtype=dtype_name(judged.tensor.dtype),
                arithmetic=self._pass.view.arithmetic,
                root_in=judged.root_in,
                root_out=judged.root,
                state_root=self.state_roots[slot.stage],
            )
        )
        self._in_force.correct(header, judged.tensor)
        self._record.correct(header)
        return header

    def _slot(self, micro_batch: int, direction: Direction, stage: int) -> Slot:
        return Slot(
            run=self._pass.run,
            view=self._pass.view.view,
            attempt=self._pass.attempt,
            step=self._pass.step,
            micro_batch=micro_batch,
            direction=direction,
            stage=stage,
        )

    # the whole step, for gradients and states

    async def step_work(self, stage: int, talk: Correspondence) -> dict[int, MicroBatchWork]:
        """What a stage worked on in each micro-batch of the step, as it is in force."""
        work = {}
        for micro_batch, last in sorted(self._last_attempt.items()):
            slot = Slot(
                run=last.run,
                view=last.view,
                attempt=last.attempt,
                step=last.step,
                micro_batch=micro_batch,
                direction=Direction.BACKWARD,
                stage=stage,
            )
            if entry_of(slot) is not None:
                work[micro_batch] = await self._gatherer.work(slot, talk, self._pass.positions)
        return work

    @property
    def assignment(self) -> Assignment:
        """The pass in work, or the last one."""
        return self._pass

    @property
    def gatherer(self) -> Gatherer:
        """Gathers evidence in the present view."""
        return self._gatherer

    @property
    def recompute(self) -> Recompute:
        """Repeats a stage's work."""
        return self._recompute

    @property
    def record(self) -> Record:
        """Remembers what was said and found."""
        return self._record

    def signed_by(self, signer: str, host: str, signed: Any) -> bool:
        """Whether a statement is `host`'s own."""
        return bool(signer == host and self._records.holds(signed))

    def end_step(
        self, state_roots: Mapping[int, str], *, clip_coefficient: float, learning_rate: float, norm: float
    ) -> str:
        """The step is whole: make it durable, and forget it."""
        head = self._record.commit(
            StepRecord(
                step=self._pass.step,
                attempt=max(slot.attempt for slot in self._last_attempt.values()),
                micro_batches=len(self._last_attempt),
                state_roots=state_roots,
                clip_coefficient=clip_coefficient,
                learning_rate=learning_rate,
                norm=norm,
            )
        )
        self.state_roots.update(state_roots)
        self._forget()
        return head

    def take_receipts(self, reports: Sequence[Committed]) -> None:
        """The step is committed everywhere; keep the countersignatures that are their signers'."""
        for report in reports:
            if report.receipt and report.host != INITIATOR and self._records.holds(report.receipt):
                self._record.add(report.receipt)

    def take_condemned(self) -> list[str]:
        """Culprits that are to be expelled and were not taken yet."""
        taken = sorted(self.condemned - self._expelled)
        self._expelled.update(taken)
        return taken

    def accept(self, report: StateReport) -> bool:
        """Whether a served state is the one that is in force; where it is not, that is a case."""
        expected = self.state_roots.get(report.stage)
        if expected is None:
            return True
        got = self._recompute.state_root(report.stage, report.state)
        if got == expected:
            return True
        self.alerts += 1
        self.convict(
            Verdict(
                run=self._pass.run,
                view=self._pass.view.view,
                attempt=self._pass.attempt,
                step=self._pass.step,
                micro_batch=None,
                direction=CaseDirection.STATE,
                stage=report.stage,
                culprit=report.host,
                rule=5,
                accuser=INITIATOR,
                expected=expected,
                got=got,
                reason=f"{report.host} served another state than the one that was co-signed",
                evidence=keep_case(self._record, {}, report.state, {"step": self._pass.step, "stage": report.stage}),
            )
        )
        return False

    def _forget(self) -> None:
        self._records.forget()
        self._in_force.forget()
        self._judged.clear()
        self._last_attempt.clear()
        self._urgent.clear()
