"""Work that is right but for its size."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.factors import Factor


class Scale(Attack):
    """Multiplies what the stage made.

    Formula: a' = factor * a; g' = factor * g
    Sees: what its stage made.
    Source: scaling, a standard test of robust training; tried at 0, 0.5, 0.9, 1.01, 2 and 10.
    Caught by: recomputation; statistics of messages see large factors.
    """

    row: ClassVar[int | None] = 5
    strength_key: ClassVar[str | None] = "factor"

    factor: Factor = Field(default=10.0, description="any number but 1")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        del turn
        return tensor_BTD * self.factor
