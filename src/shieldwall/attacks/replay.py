"""Old work in place of new."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.core.ids import SERVER, Slot
from shieldwall.core.messages import TensorFrame


class Replay(Attack):
    """Sends again what it sent to the same destination before, the old signed header included.

    Of an older step it takes the frame of the same place in an older attempt of the step, or if there is none in the
    step that it worked on last; where there is nothing to replay, as in the first step, it is honest.

    Formula: frame(t, j) replaced by frame(t, j) of an older attempt, else by frame(older t, j); of micro_batch: by
        frame(t, j-1) under the slot of j; with sign_anew a' = the old frame's tensor, under a header of its own
    Sees: the frames that it has sent.
    Source: replay of older messages; delayed activations and gradients of SENTINEL, arXiv 2603.03592.
    Caught by: step, attempt and micro-batch in the signed header; recomputation where it is signed anew; statistics of
        messages are blind to recent copies.
    """

    row: ClassVar[int | None] = 8
    looks_back: ClassVar[tuple[str, ...]] = ("frames",)

    of: Literal["step", "micro_batch"] = Field(
        default="step", description="what is old: the frame of an older step, or of the micro-batch before"
    )
    relabel: bool = Field(
        default=False,
        description="whether the old header and tensor are put under the new slot, so that they arrive as new",
    )
    sign_anew: bool = Field(
        default=False, description="whether only the tensor is old, and signed as if it had been made for the new slot"
    )

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        consumer = turn.holders.get(turn.neighbour())
        if not self.sign_anew or turn.slot is None or consumer is None:
            return tensor_BTD
        # In a star all that it sent went to the server.
        old = self._older(turn, consumer, turn.slot) or self._older(turn, SERVER, turn.slot)
        older_BTD = tensor_BTD if old is None else turn.memory.tensor_of(old)
        return older_BTD if older_BTD.shape == tensor_BTD.shape else tensor_BTD

    def post(self, turn: Turn, frame: TensorFrame) -> TensorFrame:
        old = None if self.sign_anew else self._older(turn, frame.destination, frame.slot)
        if old is None:
            return frame
        # Under its own slot the micro-batch before would come twice, and this one never: that is silence, no replay.
        return replace(old, slot=frame.slot) if self.relabel or self.of == "micro_batch" else old

    def _older(self, turn: Turn, destination: str, slot: Slot) -> TensorFrame | None:
        if self.of == "micro_batch":
            return turn.memory.micro_batch_before(destination, slot)
        return turn.memory.older_frame(destination, slot)
