"""Cases about one slot: judging it, and putting the right tensor in the place of a wrong one (design 4.5, 4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from shieldwall.core.ids import INITIATOR, Direction, Slot
from shieldwall.core.messages import Correct, NonFinite, StageState
from shieldwall.core.oversight import Correspondence
from shieldwall.core.roots import dtype_name
from shieldwall.core.signing import Identity, Signed
from shieldwall.core.statements import Halt, Header, Refusal
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.court.book import VerdictBook
from shieldwall.verify.court.hearing import Hearing
from shieldwall.verify.court.pieces import keep_case
from shieldwall.verify.court.recompute import MicroBatchWork
from shieldwall.verify.court.records import Accusation
from shieldwall.verify.court.referee import Evidence, Finding, Judged, judge
from shieldwall.verify.slots import entry_of, used_by, users_of


class SlotCases:
    """Closes the cases of one step.

    Args:
        identity: the initiator, whose tensors stand in the place of wrong ones.
        hearing: what is known of the step.
        book: where verdicts go.
        repairs: whether what is wrong is made right; where not, what was signed stands.
    """

    def __init__(self, identity: Identity, hearing: Hearing, book: VerdictBook, *, repairs: bool) -> None:
        self._identity = identity
        self._hearing = hearing
        self._book = book
        self._repairs = repairs
        self._judged: dict[Slot, Judged] = {}

    async def close(self, slot: Slot, talk: Correspondence) -> Judged | NonFinite:
        """Judge a slot, once, and once more if somebody accuses where nobody was guilty before.

        A NaN that its stage had to make is nobody's.
        """
        before = self._judged.get(slot)
        if before and (before.finding.culprit or not self._hearing.records.complaints(slot, Accusation)):
            return before
        gatherer, view = self._hearing.gatherer, self._hearing.work.view
        maker, checker = view.holders[slot.stage], view.checkers.get(slot.stage, "")
        halts = self._hearing.records.complaints(slot, Halt)
        if not checker:
            return await self._close_own(slot, maker, halts, talk)
        work = await gatherer.work(slot, talk, self._hearing.work.positions)
        tensor = await self._repeat(slot, work, talk)
        if halts and not self._hearing.recompute.is_finite(tensor):
            return NonFinite(host=maker, slot=slot, what=halts[0].statement.what)
        source = gatherer.source(slot)
        root_in, root = self._hearing.in_force.root(source), tensor_root(tensor)
        entry = entry_of(slot)
        finding = judge(
            Evidence(
                slot=slot,
                maker=maker,
                checker=checker,
                headers=await gatherer.headers(slot, talk, (view.holders[used_by(slot)], maker)),
                source_headers=await gatherer.headers(source, talk, (maker, checker)),
                entry_headers=await gatherer.headers(entry, talk, (maker, checker)),
                entry_root=self._hearing.in_force.root(entry),
                entry_used=self._named_entry(slot) if entry else "",
                root_in=root_in,
                state_root=self._hearing.state_roots[slot.stage],
                computed_root=root,
                complaints=self._hearing.records.complaints(slot),
                settlements=self._hearing.records.settlements(slot),
                form=(view.arithmetic, tuple(tensor.shape), dtype_name(tensor.dtype)),
                users=frozenset(users_of(slot, view) - {maker}),
            )
        )
        judged = self._judged[slot] = Judged(finding=finding, tensor=tensor, root=root, root_in=root_in)
        if finding.culprit and not self._is_known_false_accuser(finding, maker):
            self._find(slot, finding, work, await gatherer.state(slot.stage, talk))
        return judged

    async def _close_own(
        self, slot: Slot, maker: str, halts: Sequence[Signed[Any]], talk: Correspondence
    ) -> Judged | NonFinite:
        """A slot of the initiator's own stages: what it made is right, and on its way something may have been lost."""
        if halts:
            return NonFinite(host=maker, slot=slot, what=halts[0].statement.what)
        tensor = await self._hearing.gatherer.tensor(slot, talk)
        refused = bool(self._hearing.records.complaints(slot, Refusal))
        finding = Finding(expected=tensor_root(tensor), reason="a message was lost or late", tainted=refused)
        root_in = self._hearing.in_force.root(self._hearing.gatherer.source(slot))
        judged = self._judged[slot] = Judged(finding=finding, tensor=tensor, root=finding.expected, root_in=root_in)
        return judged

    def _named_entry(self, slot: Slot) -> str:
        """For a backward slot: the activation that its stage named in forward; what is in force if it was corrected."""
        forward = replace(slot, direction=Direction.FORWARD)
        headers = self._hearing.records.headers(forward)
        corrected = self._hearing.in_force.correction(forward) is not None
        return (
            headers[0].statement.root_in if headers and not corrected else self._hearing.in_force.root(entry_of(slot))
        )

    async def _repeat(self, slot: Slot, work: MicroBatchWork, talk: Correspondence) -> Tensor:
        state = await self._hearing.gatherer.state(slot.stage, talk)
        if slot.direction is Direction.BACKWARD:
            return self._hearing.recompute.gradient(slot.stage, state, slot.step, slot.micro_batch, work)
        return self._hearing.recompute.activation(
            slot.stage, state, slot.step, slot.micro_batch, work, training=self._hearing.work.training
        )

    def _is_known_false_accuser(self, finding: Finding, maker: str) -> bool:
        """Whether the culprit only goes on accusing after its first verdict; its word has no weight any more."""
        return self._book.has_condemned(finding.culprit) and finding.culprit != maker

    def _find(self, slot: Slot, finding: Finding, work: MicroBatchWork, state: StageState) -> None:
        about = {"step": slot.step, "stage": slot.stage, "training": self._hearing.work.training}
        self._book.convict(
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
                evidence=keep_case(self._hearing.record, {slot.micro_batch: work}, state, about),
            )
        )

    async def as_it_stands(self, slot: Slot, judged: Judged, talk: Correspondence) -> Judged:
        """Where nothing is repaired: what the maker signed, if it can be used at all."""
        if self._repairs:
            return judged
        shown = await talk.show(self._hearing.work.view.holders[slot.stage], slot)
        if shown.tensor is None or shown.header is None or not _of_one_form(shown.tensor, judged.tensor):
            return judged
        return replace(judged, tensor=shown.tensor, root=tensor_root(shown.tensor))

    async def correct(self, slot: Slot, judged: Judged, talk: Correspondence) -> None:
        """Put the right tensor in the place of what came, with those who use it."""
        users = users_of(slot, self._hearing.work.view)
        order = Correct(header=self.let_stand(slot, judged, tuple(sorted(users))), tensor=judged.tensor)
        for host in sorted(users):
            await talk.order(host, order)

    def let_stand(self, slot: Slot, judged: Judged, destinations: tuple[str, ...] = ()) -> Signed[Header]:
        """Sign for the slot in the initiator's name."""
        header = self._identity.sign(
            Header(
                slot=slot,
                source=INITIATOR,
                destinations=destinations,
                shape=tuple(judged.tensor.shape),
                dtype=dtype_name(judged.tensor.dtype),
                arithmetic=self._hearing.work.view.arithmetic,
                root_in=judged.root_in,
                root_out=judged.root,
                state_root=self._hearing.state_roots.get(slot.stage, ""),
            )
        )
        self._hearing.in_force.correct(header, judged.tensor)
        self._hearing.record.correct(header)
        return header

    def forget(self) -> None:
        """The step is over."""
        self._judged.clear()


def _of_one_form(first: Tensor, second: Tensor) -> bool:
    return (first.shape, first.dtype) == (second.shape, second.dtype)
