"""Old work in place of new."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from shieldwall.attacks.base import Attack, Turn
from shieldwall.core.messages import TensorFrame


class Replay(Attack):
    """Sends again what it sent to the same destination for the same place before, the old signed header included.

    It takes the frame of an older attempt of the step, or if there is none of an older step; in the first step there is
    nothing to replay.

    Formula: frame(t, attempt) replaced by frame(t, older attempt), else by frame(older t, any attempt)
    Sees: the frames that it has sent.
    Source: replay of older messages; delayed activations and gradients of SENTINEL, arXiv 2603.03592.
    Caught by: step, attempt and micro-batch in the signed header; statistics of messages are blind to recent copies.
    """

    row: ClassVar[int | None] = 8
    looks_back: ClassVar[bool] = True

    relabel: bool = Field(
        default=False,
        description="whether the old header and tensor are put under the new slot, so that they arrive as new",
    )

    def post(self, turn: Turn, frame: TensorFrame) -> TensorFrame:
        old = turn.memory.older_frame(frame.destination, frame.slot)
        if old is None:
            return frame
        return replace(old, slot=frame.slot) if self.relabel else old
