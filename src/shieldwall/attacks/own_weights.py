"""A stage that poisons its own state and computes honestly with it: no message of its contradicts another.

parameters  commit       the new weights, after their root was opened and before they come into force
moments     commit       Adam's moments; the weights of this step are right, those of the next are not
frozen      hold         the base model under adapters, as soon as it is handed over
served      serve        only what is handed out, so that a checkpoint or a copy is poisoned and training is not
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from shieldwall.attacks.base import Attack, Turn, normal_like
from shieldwall.core.messages import StageState


class OwnWeights(Attack):
    """Poisons the stage's own state; its messages stay consistent with what it then holds.

    Formula: W' = W + alpha * rms(W) * phi, phi ~ N(0, 1) fixed for each tensor; moments v' = (1 + alpha) * v
    Sees: the weights, moments and frozen base of its stage. Without data its direction is random.
    Source: arXiv 2604.02372, a middle stage that poisons its own weights without access to data.
    Caught by: state roots in signed headers held against the committed one, and what is served likewise; recomputation
        by a copy that was updated independently.
    """

    row: ClassVar[int | None] = 20
    directions: ClassVar[tuple[str, ...]] = ()
    strength_key: ClassVar[str | None] = "alpha"

    target: Literal["parameters", "moments", "frozen", "served"] = Field(
        default="parameters",
        description="what is poisoned: the weights, their moments, the frozen base, or served weights",
    )
    alpha: float = Field(default=0.1, gt=0, description="size of the change relative to the tensor's own; above 0")

    def hold(
        self, turn: Turn, state: StageState, frozen: Mapping[str, Tensor]
    ) -> tuple[StageState, Mapping[str, Tensor]]:
        return (state, self._poisoned(turn, frozen)) if self.target == "frozen" else (state, frozen)

    def commit(self, turn: Turn, prepared: StageState) -> StageState:
        if self.target == "parameters":
            return replace(prepared, parameters=self._poisoned(turn, prepared.parameters))
        if self.target == "moments":
            moments = {name: self._swollen(kept) for name, kept in prepared.moments.items()}
            return replace(prepared, moments=moments)
        return prepared

    def serve(self, turn: Turn, state: StageState) -> StageState:
        if self.target != "served":
            return state
        return replace(state, parameters=self._poisoned(turn, state.parameters))

    def _poisoned(self, turn: Turn, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        generator = turn.lasting_generator()
        poisoned = {name: self._moved(tensors[name], normal_like(tensors[name], generator)) for name in sorted(tensors)}
        return {name: poisoned[name] for name in tensors}

    def _moved(self, weight: Tensor, phi: Tensor) -> Tensor:
        wide = weight.to(phi.dtype)
        return (wide + self.alpha * wide.square().mean().sqrt() * phi).to(weight.dtype)

    def _swollen(self, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Adam's step counter is a moment without dimensions; left alone, it gives nothing away.
        return {key: moment * (1 + self.alpha) if moment.dim() else moment for key, moment in moments.items()}
