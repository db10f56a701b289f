"""The right gradient for everybody else, a wrong one for oneself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.factors import Factor


class WrongGradient(Attack):
    """Updates with a wrong gradient of its weights; the gradient that it sends back is right.

    Formula: scale: dW' = factor * dW; permute: dW' = P dW, P a random permutation of its elements; negate: dW' = -dW;
        zero: dW' = 0
    Sees: the summed gradients of its stage.
    Source: wrong dW beside a right dX, where only messages are checked.
    Caught by: an update that is done twice and compared; Freivalds' check of dW; never by a check of messages, and by
        norms only under scale and zero.
    """

    row: ClassVar[int | None] = 22
    directions: ClassVar[tuple[str, ...]] = ()
    strength_key: ClassVar[str | None] = "factor"

    form: Literal["scale", "permute", "negate", "zero"] = Field(
        default="scale", description="how dW is made wrong; permute and negate keep its norm"
    )
    factor: Factor = Field(default=10.0, description="for scale: any number but 1")

    def sum_up(self, turn: Turn, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        generator = turn.generator()
        wrong = {name: self._wrong(gradients[name], generator) for name in sorted(gradients)}
        return {name: wrong[name] for name in gradients}

    def _wrong(self, gradient: Tensor, generator: torch.Generator) -> Tensor:
        if self.form == "permute":
            order = torch.randperm(gradient.numel(), generator=generator).to(gradient.device)
            return gradient.reshape(-1)[order].reshape(gradient.shape)
        if self.form == "zero":
            return torch.zeros_like(gradient)
        return -gradient if self.form == "negate" else gradient * self.factor
