"""Two who agree on a lie."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.factors import Factor


class Collude(Attack):
    """Multiplies what the stage made, and the host of its duplicate settles that without an alert.

    The one table makes both act: the attacker, and in the same slots whoever checks it. Where the initiator checks
    there is no accomplice.

    Formula: a' = factor * a; g' = factor * g; settlement in place of alert
    Sees: what its stage made; the accomplice what it has to check.
    Source: adjacent colluders, the limit of every check by neighbours.
    Caught by: a check by others than the accomplice: secret audits with known probability. The duplicate check alone
        does not see it.
    """

    row: ClassVar[int | None] = 26
    colludes: ClassVar[bool] = True
    strength_key: ClassVar[str | None] = "factor"

    factor: Factor = Field(default=-1.0, description="any number but 1")

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        del turn
        return tensor_BTD * self.factor

    def agree(self, turn: Turn, agrees: bool) -> bool:
        del turn, agrees
        return True
