"""Less work than was asked for.

skip            make       nothing of the layers' work goes on
bfloat16, int8  weights    the pass is computed with rounded weights, as a cheaper copy of the stage would
frozen          prepare    the work is honest, the update is left out
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.vectors import widened
from shieldwall.attacks.wrong_update import WrongUpdate
from shieldwall.core.messages import StageState

_NO_STEP = WrongUpdate(factor=0.0)


class Lazy(Attack):
    """Saves itself work: leaves its layers out, computes roughly, or does not learn.

    Formula: skip: a' = the activation that came in, g' = the gradient that came in; bfloat16: a' = f(x; W rounded to
        bfloat16); int8: a' = f(x; s * round(W / s)), s = max(abs(W)) / 127 for each row of a matrix; both for g' and
        dW' likewise; frozen: W' = W_t in place of W_t+1
    Sees: what came in, and its weights.
    Source: lazy stages, who are paid for work that they do not do.
    Caught by: recomputation; frozen by two independent updates whose roots are compared before the commit.
    """

    row: ClassVar[int | None] = 21
    looks_back: ClassVar[tuple[str, ...]] = ("inputs", "states")

    form: Literal["skip", "bfloat16", "int8", "frozen"] = Field(
        default="skip", description="what is saved; frozen acts on updates, whatever the direction"
    )

    def weights(self, turn: Turn, in_force: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        del turn
        if self.form == "bfloat16":
            return {name: weight.to(torch.bfloat16).to(weight.dtype) for name, weight in in_force.items()}
        if self.form == "int8":
            return {name: _round_to_int8(weight) for name, weight in in_force.items()}
        return in_force

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        came_in = turn.memory.input_of(turn.slot) if self.form == "skip" and turn.slot else None
        return tensor_BTD if came_in is None else came_in.to(tensor_BTD.device, tensor_BTD.dtype)

    def prepare(self, turn: Turn, prepared: StageState) -> StageState:
        return _NO_STEP.prepare(turn, prepared) if self.form == "frozen" else prepared


def _round_to_int8(weight: Tensor) -> Tensor:
    wide = widened(weight)
    scale = wide.abs().amax(dim=-1, keepdim=True) / 127
    scale = scale.masked_fill(scale == 0, 1.0)  # a row of zeros stays what it is
    return ((wide / scale).round() * scale).to(weight.dtype)
