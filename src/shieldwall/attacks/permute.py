"""Right numbers in the wrong places."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn

_AXES = {"sequences": 0, "tokens": 1, "features": 2}


class Permute(Attack):
    """Sends on what the stage made in another order; where there is one entry only, nothing changes.

    Formula: a' = P a, P a random permutation over one axis, never the identity; the same for g
    Sees: what its stage made.
    Source: permutation of rows or tokens, which keeps all marginal statistics.
    Caught by: recomputation alone.
    """

    row: ClassVar[int | None] = 10

    over: Literal["tokens", "sequences", "features"] = Field(
        default="tokens", description="what is put in another order"
    )

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        axis = _AXES[self.over]
        length = tensor_BTD.shape[axis]
        if length < 2:
            return tensor_BTD
        order = torch.randperm(length, generator=turn.generator())
        if torch.equal(order, torch.arange(length)):
            order = order.roll(1)
        return tensor_BTD.index_select(axis, order.to(tensor_BTD.device))
