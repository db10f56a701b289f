"""The paper's forward attack."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from shieldwall.attacks.base import Attack, Turn


class SignFlip(Attack):
    """Sends on the negative of what the stage made.

    Formula: a' = -a; g' = -g
    Sees: what its stage made.
    Source: arXiv 2312.00843, the forward attack of its experiments.
    Caught by: recomputation; statistics of messages see it in activations and hardly in gradients.
    """

    row: ClassVar[int | None] = 1

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        del turn
        return -tensor_BTD
