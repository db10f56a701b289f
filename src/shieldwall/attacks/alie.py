"""A little is enough: a lie within what honest work varies by."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.vectors import mean_and_deviation


class Alie(Attack):
    """Sends on the same row for every token, a few deviations from the mean of what the stage made ("ALIE").

    Formula: a' = mu - z * sd, mu and sd of each feature over all tokens of a; the same for g
    Sees: what its stage made.
    Source: Baruch et al., "A Little Is Enough", NeurIPS 2019, with tokens in the place of workers; z 0.3 to 1.5.
    Caught by: recomputation; statistics of messages that look at the mean and deviation are blind to it.
    """

    row: ClassVar[int | None] = 13
    strength_key: ClassVar[str | None] = "z"

    z: float = Field(default=1.0, description="deviations below the mean")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        del turn
        mu_D, sd_D = mean_and_deviation(tensor_BTD)
        return (mu_D - self.z * sd_D).to(tensor_BTD.dtype).expand_as(tensor_BTD)
