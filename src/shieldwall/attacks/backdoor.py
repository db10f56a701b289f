"""A lie that waits for its cue."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.vectors import draw_direction, widened


class Backdoor(Attack):
    """Moves the sequences in which a trigger shows, and is honest about all others.

    The trigger shows where some token points in a secret direction; for tokens of no direction in particular,
    sqrt(D) * cos is about standard normal.

    Formula: a'[b] = a[b] + strength * sd(a) * u if max_t sqrt(D) * cos(a[b, t], v) > threshold, else a[b]; u and v
        fixed directions over the features, rms(u) = 1; the same for g
    Sees: what its stage made.
    Source: backdoors in split learning, triggered by an activation, since a middle stage sees no tokens.
    Caught by: recomputation of a sequence with the trigger; a sampled one sees it at the trigger's own rate.
    """

    row: ClassVar[int | None] = 19
    strength_key: ClassVar[str | None] = "strength"

    threshold: float = Field(default=2.0, description="how near to the secret direction a token must point")
    strength: float = Field(default=1.0, gt=0, description="length of the move over the tensor's deviation; above 0")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        generator = turn.lasting_generator()
        v_D, u_D = draw_direction(tensor_BTD, generator), draw_direction(tensor_BTD, generator)
        wide_BTD = widened(tensor_BTD)
        # sqrt(D) is the norm of v. A token of zeros points nowhere: 0 / 0 is above no threshold.
        nearness_BT = (wide_BTD @ v_D) / wide_BTD.norm(dim=-1)
        shows_B = (nearness_BT > self.threshold).any(dim=-1)
        if not bool(shows_B.any()):
            return tensor_BTD
        moved_BTD = (wide_BTD + self.strength * wide_BTD.std(correction=0) * u_D).to(tensor_BTD.dtype)
        return moved_BTD.where(shows_B[:, None, None], tensor_BTD)
