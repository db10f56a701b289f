"""Noise with the tensor's own statistics, in a few places."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn, normal_like
from shieldwall.attacks.vectors import mean_and_deviation


class InvisibleNoise(Attack):
    """Puts noise in the place of some of the entries, with the mean and deviation that they had.

    Formula: a' = m * (mu + sd * phi) + (1 - m) * a, phi ~ N(0, 1), m = 1 with probability share for each entry, mu and
        sd of each feature over all tokens of a; the same for g
    Sees: what its stage made.
    Source: invisible noise, made against statistics of whole messages.
    Caught by: recomputation, across classes by the largest difference of a row or feature.
    """

    row: ClassVar[int | None] = 18
    strength_key: ClassVar[str | None] = "share"

    share: float = Field(default=0.1, gt=0, le=1, description="share of the entries, above 0 and at most 1")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        generator = turn.generator()
        is_noise_BTD = torch.rand(tensor_BTD.shape, generator=generator) < self.share
        phi_BTD = normal_like(tensor_BTD, generator)
        mu_D, sd_D = mean_and_deviation(tensor_BTD)
        noise_BTD = (mu_D + sd_D * phi_BTD).to(tensor_BTD.dtype)
        return torch.where(is_noise_BTD.to(tensor_BTD.device), noise_BTD, tensor_BTD)
