"""Two tensors for one slot, each signed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.factors import Factor
from shieldwall.core.ids import SERVER


class Equivocate(Attack):
    """Sends one destination another tensor than the others.

    Backward to the consumer, it is the checker's own lie: the host of stage i+1 sends stage i a false gradient and
    feeds the true one to the duplicate of stage i that it holds itself. In a star a tensor is uploaded once, for
    everybody: what is uploaded then differs from what was signed for the initiator.

    Formula: a' = factor * a to one destination, a to all others; the same for g
    Sees: what its stage made, and who computes on it and who checks.
    Source: equivocation; rule 3 of the referee.
    Caught by: joining all headers of a slot before the commit.
    """

    row: ClassVar[int | None] = 23
    strength_key: ClassVar[str | None] = "factor"

    to: Literal["consumer", "checker"] = Field(
        default="consumer", description="who gets the false tensor: the host of the next stage, or those who check"
    )
    factor: Factor = Field(default=-1.0, description="of the false tensor; any number but 1")

    def send(self, turn: Turn, destination: str, tensor_BTD: Tensor) -> Tensor:
        deceives = destination == SERVER or destination in self._deceived(turn)
        return tensor_BTD * self.factor if deceives else tensor_BTD

    def _deceived(self, turn: Turn) -> set[str]:
        consumer = turn.holders.get(turn.neighbour())
        if self.to == "consumer":
            return {consumer} if consumer is not None else set()
        checkers = {turn.checkers.get(stage) for stage in (turn.stage, turn.neighbour())}
        return {name for name in checkers if name is not None and name not in (consumer, turn.host)}
