"""A right gradient, a wrong step."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.factors import Factor
from shieldwall.core.messages import StageState


class WrongUpdate(Attack):
    """Takes another optimizer step than it was told, from honest gradients.

    Formula: W' = W_t + factor * (W_t+1 - W_t), W_t+1 the honest update
    Sees: the old and the new state of its stage.
    Source: wrong weights; rule 5 of the referee. A factor of 0 is a stage that does not learn.
    Caught by: two independent updates whose roots are compared before the commit.
    """

    directions: ClassVar[tuple[str, ...]] = ()
    looks_back: ClassVar[tuple[str, ...]] = ("states",)
    strength_key: ClassVar[str | None] = "factor"

    factor: Factor = Field(default=2.0, description="on the step; any number but 1, 0 for none")

    def prepare(self, turn: Turn, prepared: StageState) -> StageState:
        before = turn.memory.state_in_force(turn.stage)
        if before is None:
            return prepared
        parameters = {}
        for name, new in prepared.parameters.items():
            old = before.parameters[name].to(new.device)
            parameters[name] = old + self.factor * (new - old)
        return replace(prepared, parameters=parameters)
