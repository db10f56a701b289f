"""Noise of any strength on top of honest work."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn, normal_like


class Noise(Attack):
    """Adds random numbers, measured by the deviation of what the stage made.

    Formula: a' = a + strength * sd(a) * phi, phi ~ N(0, 1); the same for g
    Sees: what its stage made.
    Source: additive noise, a standard test of robust training; tried at strengths 1e-4 to 1.
    Caught by: recomputation, in one arithmetic class down to the last bit, across classes down to the tolerance.
    """

    row: ClassVar[int | None] = 3
    strength_key: ClassVar[str | None] = "strength"

    strength: float = Field(default=0.1, gt=0, description="deviation of the noise over that of the tensor; above 0")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        phi_BTD = normal_like(tensor_BTD, turn.generator())
        wide_BTD = tensor_BTD.to(phi_BTD.dtype)
        return (wide_BTD + self.strength * wide_BTD.std(correction=0) * phi_BTD).to(tensor_BTD.dtype)
