"""No work at all."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn


class Constant(Attack):
    """Sends on one number everywhere.

    Formula: a' = value; g' = value
    Sees: the shape of what its stage made.
    Source: zero or constant replacement, a standard test of robust training.
    Caught by: recomputation; statistics of messages.
    """

    row: ClassVar[int | None] = 6
    strength_key: ClassVar[str | None] = "value"

    value: float = Field(default=0.0, description="the number")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        del turn
        return torch.full_like(tensor_BTD, self.value)
