"""What every kind of attack is: parameters, and one method for each thing that a bad worker can falsify.

A kind says *what* a bad worker does; when, where and by whom is decided by `Aim`, so that every kind can be aimed in
the same way. An attacker is given what a worker has: what it made itself, what it is about to sign, say or send, and
in `Turn` who holds what. It is given no defence's state, no secret and nobody else's tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from shieldwall.attacks.memory import Memory
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import StageState, TensorFrame
from shieldwall.core.seeds import derive_seed
from shieldwall.core.statements import Header

BOTH_WAYS = ("forward", "backward", "both")
"""The directions of a kind that acts on micro-batches. A kind that acts on updates has none."""

DIRECTION_NUMBER = {Direction.FORWARD: 0, Direction.BACKWARD: 1, Direction.EVALUATION: 2}
"""Directions as they enter a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One occasion on which an attack acts, and what the attacker knows there."""

    host: str
    """The attacker."""
    stage: int
    """The stage whose work or update is at hand; for a check the stage that is checked."""
    step: int
    seed: int
    """Of the attack."""
    slot: Slot | None
    """The piece of work; None at an update."""
    holders: Mapping[int, str]
    checkers: Mapping[int, str]
    memory: Memory

    def generator(self) -> torch.Generator:
        """Seeded by the attack and the occasion, not by view or attempt: a step run again meets equal numbers."""
        if self.slot is None:
            return _generator("attack on an update", self.seed, self.step, self.stage)
        way = DIRECTION_NUMBER[self.slot.direction]
        return _generator("attack on a tensor", self.seed, self.step, self.slot.micro_batch, way, self.stage)

    def lasting_generator(self) -> torch.Generator:
        """Seeded by the attack and the stage alone: the same in every step."""
        return _generator("attack that lasts", self.seed, self.stage)

    def neighbour(self) -> int:
        """The stage that computes on what the stage makes for the slot."""
        backward = self.slot is not None and self.slot.direction is Direction.BACKWARD
        return self.stage - 1 if backward else self.stage + 1


class Attack(BaseModel):
    """A kind of attack. Does nothing; override what is falsified.

    A method returns what goes on in the place of what it is given, the same object where it changes nothing. It never
    writes to what it is given and keeps nothing: random numbers come from `turn`, the past from `turn.memory`. The
    fields of a subclass are its parameters; each has a default and a description. Its docstring has a first line and
    the sections `Formula`, `Sees`, `Source` and `Caught by`, which the listing shows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    row: ClassVar[int | None] = None
    """Row of the list of attacks in the paper facts; None where it has none."""
    directions: ClassVar[tuple[str, ...]] = BOTH_WAYS
    """Which values of `direction` make sense; none where the kind acts on updates."""
    looks_back: ClassVar[tuple[str, ...]] = ()
    """What it uses of `turn.memory`, which is filled only then: `states`, `frames`, `inputs`."""
    colludes: ClassVar[bool] = False
    """Whether the host that checks the attacked work is in it too: only then is `agree` asked, and there."""
    strength_key: ClassVar[str | None] = None
    """The parameter that makes it stronger or weaker, for experiments that try several; None where it has none."""

    @property
    def states_back(self) -> int:
        """How many states before the one in force it uses of `turn.memory`."""
        return 0

    def weights(self, turn: Turn, in_force: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights by name, a frozen base included, that its stage computes one pass with; no state changes."""
        del turn
        return in_force

    def make(self, turn: Turn, tensor_BTD: Tensor) -> Tensor:
        """What the stage has made for the slot, (B sequences, T tokens, D width); the same shape and dtype go on."""
        del turn
        return tensor_BTD

    def sign(self, turn: Turn, header: Header) -> Header:
        """What the attacker signs about a tensor that it made."""
        del turn
        return header

    def send(self, turn: Turn, destination: str, tensor_BTD: Tensor) -> Tensor:
        """What goes to one destination; what differs from what was made is signed separately."""
        del turn, destination
        return tensor_BTD

    def post(self, turn: Turn, frame: TensorFrame) -> TensorFrame:
        """A frame of its own at the door, after everything was signed."""
        del turn
        return frame

    def check(self, turn: Turn) -> bool:
        """Whether it computes the duplicate that it has to check with."""
        del turn
        return True

    def agree(self, turn: Turn, agrees: bool) -> bool:
        """Whether it says that the checked stage agrees with its duplicate."""
        del turn
        return agrees

    def hold(
        self, turn: Turn, state: StageState, frozen: Mapping[str, Tensor]
    ) -> tuple[StageState, Mapping[str, Tensor]]:
        """The state and the frozen base that it was handed for its stage."""
        del turn
        return state, frozen

    def sum_up(self, turn: Turn, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The step's summed gradients of its stage, by parameter name."""
        del turn
        return gradients

    def prepare(self, turn: Turn, prepared: StageState) -> StageState:
        """Its stage's new state, before its root is taken."""
        del turn
        return prepared

    def commit(self, turn: Turn, prepared: StageState) -> StageState:
        """Its stage's new state, after its root was opened and before it comes into force."""
        del turn
        return prepared

    def serve(self, turn: Turn, state: StageState) -> StageState:
        """Its stage's committed state, as it hands it out."""
        del turn
        return state


def normal_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """N(0, 1) of the shape of `tensor`, in float32 or wider, drawn on the CPU so that every device gets the same."""
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.device, dtype)


def _generator(purpose: str, *parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(purpose, *parts))
