"""Evenly spread numbers in place of work."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn


class Uniform(Attack):
    """Sends on evenly spread random numbers in place of what the stage made.

    Formula: a' = low + (high - low) * phi, phi ~ U(0, 1); the same for g
    Sees: what its stage made, of which it uses the shape.
    Source: the attack in the public code of arXiv 2312.00843, which draws from U(0, 1).
    Caught by: recomputation; statistics of messages.
    """

    row: ClassVar[int | None] = 4
    strength_key: ClassVar[str | None] = "high"

    low: float = Field(default=0.0, description="the lowest number")
    high: float = Field(default=1.0, description="the highest number; above the lowest")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        phi_BTD = torch.rand(tensor_BTD.shape, generator=turn.generator())
        return (self.low + (self.high - self.low) * phi_BTD).to(tensor_BTD.device, tensor_BTD.dtype)
