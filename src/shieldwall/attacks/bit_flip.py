"""A fault of the machine rather than a lie: a bit that turns over."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn

_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element to the whole numbers that are as long."""


class BitFlip(Attack):
    """Turns over one bit of a few entries of what the stage made.

    Bits are counted from the sign, so that each is there in every type: 0 the sign, then the exponent, then the
    fraction. A flip of a high bit may make an infinity or a NaN.

    Formula: a'[k] = a[k] with bit `bit` turned over, for random k; the same for g
    Sees: what its stage made.
    Source: silent data corruption in large runs; arXiv 2604.00726.
    Caught by: recomputation, down to the last bit; a verdict is about bits, not about intent.
    """

    row: ClassVar[int | None] = 30
    strength_key: ClassVar[str | None] = "entries"

    bit: int = Field(default=4, ge=0, le=15, description="which bit from 0 to 15, counted from the sign")
    entries: int = Field(default=1, ge=1, description="how many entries, at least 1; all where there are fewer")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        drawn = torch.randperm(tensor_BTD.numel(), generator=turn.generator())[: self.entries].to(tensor_BTD.device)
        damaged_BTD = tensor_BTD.clone(memory_format=torch.contiguous_format)
        bits = damaged_BTD.view(_WHOLE[tensor_BTD.element_size()]).view(-1)
        highest = torch.iinfo(bits.dtype).min  # the sign alone
        mask = highest if self.bit == 0 else 1 << (8 * tensor_BTD.element_size() - 1 - self.bit)
        bits[drawn] = bits[drawn] ^ mask
        return damaged_BTD
