"""Where other rooms may step in: at the borders of a stage, and around its update.

A hook sees what crosses a border and returns what shall go on in its place, the same tensor where it changes nothing.
It must not write to what it is given. A host without hooks calls nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from shieldwall.core.ids import Slot
from shieldwall.core.messages import StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """Which work a tensor belongs to and who does it."""

    host: str
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Which stage's update is at hand."""

    host: str
    stage: int
    step: int


class Hook:
    """Does nothing; override what is of interest.

    Called in this order for each micro-batch: `before_forward` (not for tokens), `after_forward` (not for the loss),
    `before_backward` (not for the loss), `after_backward` (not where no stage comes before); then once for each stage
    of a step `before_prepare`, `after_prepare`, `before_commit`, `after_commit`.
    """

    async def before_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        """The activation that the stage is about to compute on."""
        del border
        return activation_BTD

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        """The activation that the stage has made."""
        del border
        return activation_BTD

    async def before_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        """The gradient with respect to the stage's output that it is about to use."""
        del border
        return gradient_BTD

    async def after_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        """The gradient with respect to the stage's input that it sends back."""
        del border
        return gradient_BTD

    async def before_prepare(self, update: Update, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The step's summed gradients by parameter name, clipped."""
        del update
        return gradients

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        """The new state that stands beside the old one."""
        del update
        return prepared

    async def before_commit(self, update: Update, prepared: StageState) -> StageState:
        """The new state that is about to come into force."""
        del update
        return prepared

    async def after_commit(self, update: Update, state: StageState) -> None:
        """The state in force."""
