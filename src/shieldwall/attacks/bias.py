"""Right work, moved aside."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.vectors import draw_direction, widened


class Bias(Attack):
    """Adds one and the same vector to every token, in every step.

    Formula: a' = a + strength * sd(a) * u, u a fixed direction over the features, rms(u) = 1; the same for g
    Sees: what its stage made.
    Source: constant bias, a standard test of robust training.
    Caught by: recomputation.
    """

    row: ClassVar[int | None] = 7
    strength_key: ClassVar[str | None] = "strength"

    strength: float = Field(default=0.1, gt=0, description="size of the bias over the tensor's deviation; above 0")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        u_D = draw_direction(tensor_BTD, turn.lasting_generator())
        wide_BTD = widened(tensor_BTD)
        return (wide_BTD + self.strength * wide_BTD.std(correction=0) * u_D).to(tensor_BTD.dtype)
