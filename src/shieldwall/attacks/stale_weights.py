"""Work with the weights of an earlier step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn


class StaleWeights(Attack):
    """Computes with the weights that it had some steps ago, and signs that it computed with those in force.

    What it updates is the state in force. Until it has held the stage for so many steps it is honest.

    Formula: a' = f(x; W_t-delay) in place of f(x; W_t); g' and dW' likewise
    Sees: the weights that it had.
    Source: stale weights and delay, the natural fault of asynchronous pipelines.
    Caught by: recomputation with the weights whose root stands in the header.
    """

    row: ClassVar[int | None] = 9
    looks_back: ClassVar[tuple[str, ...]] = ("states",)
    strength_key: ClassVar[str | None] = "delay"

    delay: int = Field(default=1, ge=1, description="age of the weights in steps, at least 1")

    @property
    def states_back(self) -> int:
        return self.delay

    def weights(self, turn: Turn, in_force: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        old = turn.memory.older_state(turn.stage, self.delay)
        if old is None:
            return in_force
        return {**in_force, **{name: weight.to(in_force[name].device) for name, weight in old.parameters.items()}}
