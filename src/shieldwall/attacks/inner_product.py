"""The mean, turned round."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.vectors import mean_and_deviation


class InnerProduct(Attack):
    """Sends on the negative of the mean of what the stage made, for every token (inner-product manipulation, "IPM").

    Formula: a' = -epsilon * mu, mu the mean of each feature over all tokens of a; the same for g
    Sees: what its stage made.
    Source: Xie et al., "Fall of Empires", UAI 2019, with tokens in the place of workers.
    Caught by: recomputation.
    """

    row: ClassVar[int | None] = 14
    strength_key: ClassVar[str | None] = "epsilon"

    epsilon: float = Field(default=1.0, gt=0, description="factor on the mean that is turned round; above 0")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        del turn
        mu_D, _ = mean_and_deviation(tensor_BTD)
        return (-self.epsilon * mu_D).to(tensor_BTD.dtype).expand_as(tensor_BTD)
