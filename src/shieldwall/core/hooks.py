"""Where other rooms may step in: at the borders of a stage, around its update, at its checks and at the door.

A hook sees what a host is about to use, make, sign, judge or send, and returns what shall go on in its place, the same
object where it changes nothing. It must not write to what it is given. A host without hooks calls nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from shieldwall.core.ids import Role, Slot
from shieldwall.core.messages import Message, StageState
from shieldwall.core.statements import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """Which work a tensor belongs to and who does it."""

    host: str
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Which stage's or duplicate's update is at hand."""

    host: str
    stage: int
    step: int
    role: Role = Role.STAGE


class Hook:
    """Does nothing; override what is of interest.

    Called in this order for each micro-batch of a stage: `before_forward` (not for tokens), `after_forward` (not for
    the loss), `before_backward` (not for the loss), `after_backward` (not where no stage comes before), each of the two
    passes with `before_compute` ahead of its work, each of the two `after_` followed by `before_sign` and
    `before_send`; for each pass of a duplicate `before_check` and `after_check`; then once for each stage and duplicate
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

    async def before_compute(self, border: Border, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights by name, a frozen base included, that the stage is about to compute a pass of its own with.

        Others are used in this one pass alone and change no state; each has the shape, the type and the device of the
        one whose place it takes. A backward pass with others runs its forward pass again, with the same ones.
        """
        del border
        return weights

    async def before_sign(self, border: Border, header: Header) -> Header:
        """What the host is about to sign about the tensor that it has made; not called in a run that checks nothing."""
        del border
        return header

    async def before_send(self, border: Border, destination: str, tensor: Tensor) -> Tensor:
        """What goes to one destination, in a star the server; another tensor than was made gets a header of its own."""
        del border, destination
        return tensor

    async def before_post(self, destination: str, message: Message) -> Message | None:
        """A message at the door; None keeps it back."""
        del destination
        return message

    async def before_check(self, border: Border) -> bool:
        """Whether a duplicate computes; where not, its host goes by what the stage's header says."""
        del border
        return True

    async def after_check(self, border: Border, agrees: bool) -> bool:
        """Whether the host says that the stage agrees with its duplicate."""
        del border
        return agrees

    async def before_hold(
        self, update: Update, state: StageState, frozen: Mapping[str, Tensor]
    ) -> tuple[StageState, Mapping[str, Tensor]]:
        """The state and the frozen base that the host was handed and is about to hold."""
        del update
        return state, frozen

    async def before_prepare(self, update: Update, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The step's summed gradients by parameter name, as they are about to be reported and used."""
        del update
        return gradients

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        """The new state that stands beside the old one, before its root is taken."""
        del update
        return prepared

    async def before_commit(self, update: Update, prepared: StageState) -> StageState:
        """The new state that is about to come into force, after its root was opened."""
        del update
        return prepared

    async def after_commit(self, update: Update, state: StageState) -> None:
        """The state in force."""

    async def before_serve(self, update: Update, state: StageState) -> StageState:
        """The committed state that the host was asked for."""
        del update
        return state
