"""The paper's backward attack."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn, normal_like


class Gaussian(Attack):
    """Sends on random numbers in place of what the stage made.

    Formula: a' = phi, phi ~ N(0, 1), or with match phi ~ N(mean(a), sd(a)); the same for g
    Sees: what its stage made, of which it uses the shape, and with match mean and deviation.
    Source: arXiv 2312.00843, the backward attack of its experiments.
    Caught by: recomputation; statistics of messages see N(0, 1), and not the matched form.
    """

    row: ClassVar[int | None] = 2

    match: bool = Field(default=False, description="whether mean and deviation are those of the honest tensor")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        phi_BTD = normal_like(tensor_BTD, turn.generator())
        if self.match:
            wide_BTD = tensor_BTD.to(phi_BTD.dtype)
            phi_BTD = wide_BTD.mean() + wide_BTD.std(correction=0) * phi_BTD
        return phi_BTD.to(tensor_BTD.dtype)
