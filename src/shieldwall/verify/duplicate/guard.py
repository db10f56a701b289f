"""One host's guard: it signs what the host makes, admits what comes, and compares stages with their duplicates.

A host checks stage `i` when it holds the duplicate of `i`. It has the stage's header, the root of what its duplicate
was fed by the *source* of the stage's input, and the root of what its duplicate made of it (design 4.2 to 4.4):

    the stage names the input that I was fed, and I made the same    settlement, to those who use the tensor
    the stage names the input that I was fed, and I made another     alert, to the initiator
    the stage names an input that I do not know                      inquiry, to the initiator; no accusation
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import COORDINATOR, INITIATOR, SERVER, Direction, Role, Slot
from shieldwall.core.messages import Correct, Note, Play, Show, Shown, StageState, TensorFrame, View
from shieldwall.core.roots import dtype_name
from shieldwall.core.signing import Identity, Roster, Signed, Statement
from shieldwall.core.statements import (
    Alert,
    GradientClaim,
    Halt,
    Header,
    Holding,
    Inquiry,
    Receipt,
    Refusal,
    Settlement,
    StateOpening,
    StateSeal,
)
from shieldwall.core.tensor_roots import root_of_roots, tensor_root, tensor_roots
from shieldwall.verify.duplicate.states import StateRoots
from shieldwall.verify.duplicate.tensors import KeptTensors
from shieldwall.verify.slots import users_of


@dataclass(frozen=True, slots=True)
class _Result:
    """What a duplicate was fed and made; `root_out` is None where it did not compute."""

    root_in: str
    root_out: str | None


class DuplicateGuard:
    """Keeps one host's records of a step.

    Args:
        identity: the host's name and key.
        hooks: of the same host; they see headers before they are signed and findings before they are said.
        compression: of the run. All tensors here are as they are sent.
    """

    def __init__(self, identity: Identity, hooks: Sequence[Hook] = (), compression: Compression = PLAIN) -> None:
        self._identity = identity
        self._compression = compression
        self._hooks = tuple(hooks)
        self._view = View(view=-1, holders={}, checkers={}, keys={}, arithmetic="")
        self._roster = Roster({})
        self._play: Play | None = None
        self._tensors = KeptTensors()
        self._states = StateRoots()
        self._headers: dict[Slot, Signed[Header]] = {}
        self._results: dict[Slot, _Result] = {}
        self._settled: dict[Slot, Signed[Settlement]] = {}
        self._asked: set[Slot] = set()
        self._outbox: list[tuple[str, Note]] = []

    @property
    def name(self) -> str:
        """The host's name."""
        return self._identity.name

    def take_notes(self) -> list[tuple[str, Note]]:
        notes, self._outbox = self._outbox, []
        return notes

    def see_view(self, view: View) -> None:
        self._view = view
        self._roster = Roster(view.keys)

    def begin(self, play: Play) -> None:
        self._play = play
        self._forget(lambda slot: _belongs_to(play, slot))

    def hold(
        self,
        stage: int,
        role: Role,
        state: StageState,
        frozen: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
    ) -> None:
        if self.answers_for(role, stage):
            self._states.hold((role, stage), state, frozen, buffers)

    def answers_for(self, role: Role, stage: int) -> bool:
        return role is Role.DUPLICATE or stage in self._view.checkers

    # what this host makes

    async def seal(self, slot: Slot, tensor: Tensor, made_from: Slot | None) -> Signed[Header]:
        destinations = tuple(sorted(users_of(slot, self._view) - {self.name}))
        header = Header(
            slot=slot,
            source=self.name,
            destinations=destinations,
            shape=tuple(tensor.shape),
            dtype=dtype_name(tensor.dtype),
            arithmetic=self._view.arithmetic,
            root_in=self._tensors.root(made_from),
            root_out=tensor_root(tensor),
            state_root=self._states.committed((Role.STAGE, slot.stage)),
        )
        for hook in self._hooks:
            header = await hook.before_sign(Border(host=self.name, slot=slot), header)
        signed = self._identity.sign(header)
        self._tensors.keep(slot, tensor, signed)
        self._post(COORDINATOR, signed)
        checker = self._view.checkers.get(slot.stage)
        if checker is not None and checker not in destinations:
            self._post(checker, signed)
        return signed

    async def reseal(self, header: Signed[Header], tensor: Tensor, destination: str) -> Signed[Header]:
        other = replace(
            header.statement,
            destinations=header.statement.destinations if destination == SERVER else (destination,),
            shape=tuple(tensor.shape),
            dtype=dtype_name(tensor.dtype),
            root_out=tensor_root(tensor),
        )
        return self._identity.sign(other)

    def halt(self, slot: Slot, made_from: Slot | None, what: str) -> None:
        self._say(COORDINATOR, Halt(slot=slot, root_in=self._tensors.root(made_from), what=what))

    # what comes in

    def refuse_stale(self, frame: TensorFrame) -> None:
        play, slot = self._play, frame.slot
        if play is not None:
            now = replace(slot, step=play.step, attempt=play.attempt, view=play.view)
            self._refuse(now, frame, f"it is of step {slot.step}, attempt {slot.attempt}")

    async def admit(self, frame: TensorFrame) -> Tensor | None:
        trouble = self._trouble(frame)
        if trouble or frame.header is None:
            self._refuse(frame.slot, frame, trouble)
            return None
        self._tensors.keep(frame.slot, frame.tensor, frame.header)
        if self.name == INITIATOR:
            self._post(COORDINATOR, frame.header)
        return frame.tensor

    def _trouble(self, frame: TensorFrame) -> str:
        """Why a frame cannot be used; empty where it can. The cheapest questions come first."""
        signed = frame.header
        if signed is None:
            return "it has no header"
        header, tensor = signed.statement, frame.tensor
        holder = self._view.holders.get(frame.slot.stage, "")
        border = self._play.shapes.get(frame.slot.micro_batch) if self._play else None
        wanted = border and self._compression.sent_shape(border)
        dtype = self._compression.sent_dtype or self._compression.dtype
        checks = (
            (header.slot == frame.slot, "its header is of another slot"),
            (signed.signer == header.source == frame.source == holder, f"it is not from {holder}"),
            (self.name in header.destinations, "it is meant for others"),
            (header.arithmetic == self._view.arithmetic, "its arithmetic class is another"),
            (wanted is None or tuple(tensor.shape) == wanted, f"its shape is {tuple(tensor.shape)}, not {wanted}"),
            (tensor.dtype == dtype, f"its type is {tensor.dtype}, not {dtype}"),
            (
                (header.shape, header.dtype) == (tuple(tensor.shape), dtype_name(tensor.dtype)),
                "its header states another shape or type",
            ),
        )
        for fits, trouble in checks:
            if not fits:
                return trouble
        if self._headers.get(frame.slot) is not signed and not self._roster.holds(signed):
            return f"its header is not signed by {holder}"
        return "" if tensor_root(tensor) == header.root_out else "its bytes are not those that the header binds"

    def _refuse(self, slot: Slot, frame: TensorFrame, reason: str) -> None:
        if frame.header is not None and self._roster.holds(frame.header):
            self._post(COORDINATOR, frame.header)
        self._say(COORDINATOR, Refusal(slot=slot, sender=frame.source, reason=reason))

    async def hear(self, note: Note) -> None:
        signed: Signed[Any] = note.signed
        statement = signed.statement
        if isinstance(statement, Header):
            if self._checks(statement.slot, signed.signer) and self._roster.holds(signed):
                self._headers.setdefault(statement.slot, signed)
                await self._compare(statement.slot)
        elif isinstance(statement, Settlement):
            checker = self._view.checkers.get(statement.slot.stage)
            if signed.signer == checker and self._roster.holds(signed):
                self._settled[statement.slot] = signed

    def _checks(self, slot: Slot, maker: str) -> bool:
        """Whether this host holds the duplicate of the stage that `maker` holds."""
        view = self._view
        return view.checkers.get(slot.stage) == self.name and view.holders.get(slot.stage) == maker

    def correct(self, order: Correct) -> None:
        if order.header.signer == INITIATOR and self._roster.holds(order.header):
            self._tensors.correct(order)

    def corrected(self, slot: Slot) -> Tensor | None:
        return self._tensors.corrected(slot)

    def settled(self, slot: Slot) -> Tensor | None:
        corrected = self._tensors.corrected(slot)
        if corrected is not None or slot.stage not in self._view.checkers:
            return self._tensors.tensor(slot)
        agreed, mine = self._settled.get(slot), self._tensors.root(slot)
        if agreed is None or not mine:
            return None
        if agreed.statement.root_out == mine:
            return self._tensors.tensor(slot)
        if slot not in self._asked:
            self._asked.add(slot)
            shown = self._tensors.show(slot, self.name)
            for seen in (shown.header, agreed):
                if seen:
                    self._post(COORDINATOR, seen)
            reason = "what was settled is another tensor than the one that came"
            self._say(COORDINATOR, Refusal(slot=slot, sender=self._view.holders[slot.stage], reason=reason))
        return None

    def show(self, order: Show) -> Shown:
        return self._tensors.show(order.slot, self.name)

    # what this host checks

    async def check(self, slot: Slot, made_from: Slot, tensor: Tensor | None) -> None:
        root_out = None if tensor is None else tensor_root(tensor)
        self._results[slot] = _Result(self._tensors.root(made_from), root_out)
        await self._compare(slot)

    async def _compare(self, slot: Slot) -> None:
        """Say what there is to say once both the stage's header and the duplicate's result are here."""
        signed, result = self._headers.get(slot), self._results.get(slot)
        if signed is None or result is None or slot in self._asked:
            return
        self._asked.add(slot)
        header = signed.statement
        mine = result if result.root_out is not None else _Result(header.root_in, header.root_out)
        known = header.root_in == mine.root_in
        agrees = header.root_out == mine.root_out
        same_state = header.state_root == self._states.committed((Role.DUPLICATE, slot.stage))
        finding = known and agrees and same_state
        for hook in self._hooks:
            finding = await hook.after_check(Border(host=self.name, slot=slot), finding)
        if finding:
            self._settle(slot, header)
            return
        # What was seen goes with the complaint: the maker may have signed something else for the initiator.
        self._post(COORDINATOR, signed)
        if not known:
            self._say(
                COORDINATOR,
                Inquiry(slot=slot, root_in=mine.root_in, root_out=str(mine.root_out), claimed=header.root_in),
            )
        else:
            root = str(mine.root_out) if not agrees or not same_state else _some_other_root(header.root_out)
            self._say(COORDINATOR, Alert(slot=slot, root_in=mine.root_in, root_out=root, claimed=header.root_out))

    def _settle(self, slot: Slot, header: Header) -> None:
        settlement = Settlement(slot=slot, root_in=header.root_in, root_out=header.root_out)
        signed = self._settled[slot] = self._identity.sign(settlement)
        for destination in (COORDINATOR, *sorted(users_of(slot, self._view) - {self.name})):
            self._post(destination, signed)

    # gradients and states

    def claim(
        self,
        stage: int,
        role: Role,
        step: int,
        gradients: Mapping[str, Tensor],
        norms: Mapping[str, Tensor],
    ) -> Signed[GradientClaim]:
        return self._identity.sign(
            GradientClaim(
                holding=self._holding(stage, role, step),
                root=root_of_roots(tensor_roots(gradients)),
                norms={name: float(norm).hex() for name, norm in norms.items()},
            )
        )

    def close_envelope(self, stage: int, role: Role, step: int, state: StageState) -> Signed[StateSeal]:
        return self._identity.sign(self._states.close(self._holding(stage, role, step), state, self.name))

    def open_envelopes(self, step: int) -> tuple[Signed[StateOpening], ...]:
        return tuple(
            self._identity.sign(opening) for opening in self._states.openings() if opening.holding.step == step
        )

    def commit(self, step: int, head: str) -> Signed[Receipt]:
        self._states.commit()
        self._forget(lambda slot: slot.step > step)
        return self._identity.sign(Receipt(run=self._play.run if self._play else "", step=step, head=head))

    def _forget(self, keep: Callable[[Slot], bool]) -> None:
        """Let go of all but what `keep` says: work that others began before this host may be here already."""
        self._tensors.forget(keep)
        self._headers = {slot: header for slot, header in self._headers.items() if keep(slot)}
        self._results = {slot: result for slot, result in self._results.items() if keep(slot)}
        self._settled = {slot: root for slot, root in self._settled.items() if keep(slot)}
        self._asked = {slot for slot in self._asked if keep(slot)}

    def _holding(self, stage: int, role: Role, step: int) -> Holding:
        run = self._play.run if self._play else ""
        return Holding(run=run, view=self._view.view, step=step, stage=stage, role=role)

    def _say(self, destination: str, statement: Statement) -> None:
        self._post(destination, self._identity.sign(statement))

    def _post(self, destination: str, signed: Signed[Any]) -> None:
        self._outbox.append((destination, Note(signed=signed)))


def _belongs_to(play: Play, slot: Slot) -> bool:
    evaluates = slot.direction is Direction.EVALUATION
    return slot.step > play.step or (slot.step == play.step and evaluates is not play.training)


def _some_other_root(root: str) -> str:
    """What a host claims to have got when it is made to accuse without a reason."""
    return hashlib.sha256(root.encode()).hexdigest()
