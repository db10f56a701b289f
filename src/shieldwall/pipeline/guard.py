"""What a host asks of the one who keeps its records: headers, checks and statements. Without a guard nothing is asked.

The engine knows this contract and no defence; who fulfils it is decided where a run is put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from shieldwall.core.ids import Role, Slot
from shieldwall.core.messages import Correct, Note, Play, Show, Shown, StageState, TensorFrame, View
from shieldwall.core.signing import Signed
from shieldwall.core.statements import GradientClaim, Header, Receipt, StateOpening, StateSeal


class Guard(Protocol):
    """One host's records of a step.

    What a call wants said to others it leaves in `take_notes`, which the host sends in order.
    """

    def take_notes(self) -> list[tuple[str, Note]]:
        """Statements to send, each with its destination, since the last call."""

    def see_view(self, view: View) -> None:
        """Who holds what from now on, and everybody's keys."""

    def begin(self, play: Play) -> None:
        """A lane is about to be played; of an older step nothing is kept, of older attempts everything."""

    def refuse_stale(self, frame: TensorFrame) -> None:
        """A frame of older work came in the place of one of the work that is played."""

    async def admit(self, frame: TensorFrame) -> Tensor | None:
        """The tensor of a frame that came in, or None where it cannot be used, which is then noted."""

    async def seal(self, slot: Slot, tensor: Tensor, made_from: Slot | None) -> Signed[Header]:
        """The signed header of what this host has made for `slot`, for those who use it."""

    async def reseal(self, header: Signed[Header], tensor: Tensor, destination: str) -> Signed[Header]:
        """A header of its own for another tensor that goes to one destination, which may be the server."""

    async def check(self, slot: Slot, made_from: Slot, tensor: Tensor | None) -> None:
        """What a duplicate on this host has made for `slot`; None where it was not computed."""

    def halt(self, slot: Slot, made_from: Slot | None, what: str) -> None:
        """What this host made for `slot` is not finite."""

    async def hear(self, note: Note) -> None:
        """A statement has come in."""

    def correct(self, order: Correct) -> None:
        """The initiator has put a tensor in the place of what came for a slot."""

    def corrected(self, slot: Slot) -> Tensor | None:
        """The tensor that the initiator has put in the place of what came for `slot`, if it has."""

    def settled(self, slot: Slot) -> Tensor | None:
        """The tensor of `slot` once it is settled, corrected where it had to be; None until then."""

    def show(self, order: Show) -> Shown:
        """What this host has of a slot's tensor."""

    def answers_for(self, role: Role, stage: int) -> bool:
        """Whether the stage or duplicate is one that is compared with another."""

    def claim(
        self, stage: int, role: Role, step: int, gradients: Mapping[str, Tensor], norms: Mapping[str, Tensor]
    ) -> Signed[GradientClaim]:
        """The signed claim about the summed gradients."""

    def hold(
        self, stage: int, role: Role, state: StageState, frozen: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
    ) -> None:
        """A stage or duplicate is held from now on, in this state."""

    def close_envelope(self, stage: int, role: Role, step: int, state: StageState) -> Signed[StateSeal]:
        """The closed envelope with the root of the new state."""

    def open_envelopes(self, step: int) -> tuple[Signed[StateOpening], ...]:
        """All envelopes of the step, opened."""

    def commit(self, step: int, head: str) -> Signed[Receipt]:
        """The prepared states are in force; forget the step's tensors."""
