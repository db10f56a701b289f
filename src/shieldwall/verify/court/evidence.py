"""Gathering what a case needs: tensors from whoever has the right one, states that match the co-signed root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from shieldwall.core.errors import RunError
from shieldwall.core.ids import Direction, Role, Slot
from shieldwall.core.messages import StageState, View
from shieldwall.core.oversight import Correspondence, lost_state
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.verify.court.forced import InForce
from shieldwall.verify.court.recompute import MicroBatchWork, Recompute
from shieldwall.verify.court.record import Record
from shieldwall.verify.court.records import Records
from shieldwall.verify.slots import entry_of, made_from, used_by


class Gatherer:
    """Gathers evidence in one view of a run.

    Args:
        view: who holds and checks what.
        stages: K.
        records: what was said.
        in_force: what stands for each slot.
        recompute: takes roots of states.
        state_roots: the co-signed root of each checked stage's state.
        record: remembers headers that were shown here for the first time.
    """

    def __init__(
        self,
        view: View,
        stages: int,
        records: Records,
        in_force: InForce,
        recompute: Recompute,
        state_roots: Mapping[int, str],
        record: Record,
    ) -> None:
        self._view = view
        self._stages = stages
        self._records = records
        self._in_force = in_force
        self._recompute = recompute
        self._state_roots = state_roots
        self._record = record
        self._states: dict[int, StageState] = {}

    def source(self, slot: Slot) -> Slot | None:
        """The slot of the tensor that this slot's was made from."""
        return made_from(slot, self._stages)

    async def headers(self, slot: Slot | None, talk: Correspondence, hosts: Iterable[str]) -> list[Signed[Header]]:
        """Everything that the maker signed for `slot`, filed before or shown by one of `hosts` now; each once."""
        if slot is None:
            return []
        found = {signed.content: signed for signed in self._records.headers(slot)}
        for host in hosts:
            shown = (await talk.show(host, slot)).header
            maker = self._view.holders[slot.stage]
            if shown is None or shown.statement.slot != slot or shown.content in found:
                continue
            if shown.signer == maker and self._records.file(shown):
                found[shown.content] = shown
                self._record.add(shown)
        return list(found.values())

    async def is_made(self, slot: Slot, talk: Correspondence) -> bool:
        """Whether the maker has signed for `slot`; a header that it kept from the initiator is asked of its users."""
        if not self._records.headers(slot):
            await self.headers(slot, talk, self._who_may_have(slot))
        return bool(self._records.headers(slot))

    async def tensor(self, slot: Slot, talk: Correspondence) -> Tensor:
        """The tensor that is in force for `slot`, from whoever has it bit for bit.

        Raises:
            RunError: SW-V201; nobody has it any more.
        """
        corrected = self._in_force.correction(slot)
        if corrected is not None:
            return corrected
        await self.is_made(slot, talk)
        root = self._in_force.root(slot)
        for host in self._who_may_have(slot):
            shown = (await talk.show(host, slot)).tensor
            if shown is not None and tensor_root(shown) == root:
                return shown
        raise RunError(
            "SW-V201",
            "nobody shows a tensor that was signed and used",
            where=str(slot),
            expected=f"the tensor with root {root or '(none signed)'}",
            got=f"nothing that matches from {', '.join(self._who_may_have(slot))}",
            state="nothing of the step has changed a weight",
            remedy="resume from the last checkpoint; ban a worker that keeps things back",
        )

    async def work(self, slot: Slot, talk: Correspondence, positions: Mapping[int, Tensor]) -> MicroBatchWork:
        """What the stage of `slot` worked on: the activation that came in, and in backward the gradient too."""
        source, entry = self.source(slot), entry_of(slot)
        positions_BT = positions.get(slot.micro_batch)
        if source is None:
            raise LookupError(f"{slot} is the initiator's own work")
        came = await self.tensor(source, talk)
        if slot.direction is not Direction.BACKWARD or entry is None:
            return MicroBatchWork(came, None, positions_BT)
        return MicroBatchWork(await self.tensor(entry, talk), came, positions_BT)

    async def state(self, stage: int, talk: Correspondence) -> StageState:
        """The stage's state from the first of its two holders who has the one that was co-signed.

        Raises:
            RunError: SW-V202; neither has.
        """
        if stage in self._states:
            return self._states[stage]
        holders = ((Role.DUPLICATE, self._view.checkers[stage]), (Role.STAGE, self._view.holders[stage]))
        for role, host in holders:
            report = await talk.state(host, stage, role)
            if self._recompute.state_root(stage, report.state) == self._state_roots[stage]:
                self._states[stage] = report.state
                return report.state
        raise lost_state(stage, holders[1][1], holders[0][1], self._state_roots[stage])

    def forget(self) -> None:
        """Drop states; the step is over."""
        self._states.clear()

    def _who_may_have(self, slot: Slot) -> list[str]:
        maker, user = self._view.holders.get(slot.stage), used_by(slot)
        names = (maker, self._view.holders.get(user), self._view.checkers.get(user))
        return list(dict.fromkeys(name for name in names if name))
