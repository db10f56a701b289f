"""A bias that grows so slowly that every step looks like the last."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.vectors import draw_direction, widened


class Drift(Attack):
    """Adds a vector of one direction to every token, a little more in each step until it is long enough.

    Formula: a' = a + min(cap, slope * (t + 1)) * sd(a) * u, u a fixed direction over the features, rms(u) = 1; the same
        for g
    Sees: what its stage made, and the number of the step.
    Source: slow drift, made against detectors that follow a running mean.
    Caught by: recomputation, across classes once it is above the tolerance; a running mean follows it.
    """

    row: ClassVar[int | None] = 15
    strength_key: ClassVar[str | None] = "slope"

    slope: float = Field(default=0.001, gt=0, description="growth in each step, over the tensor's deviation; above 0")
    cap: float = Field(default=0.1, gt=0, description="where it stops to grow; above 0")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        u_D = draw_direction(tensor_BTD, turn.lasting_generator())
        wide_BTD = widened(tensor_BTD)
        length = min(self.cap, self.slope * (turn.step + 1))
        return (wide_BTD + length * wide_BTD.std(correction=0) * u_D).to(tensor_BTD.dtype)
