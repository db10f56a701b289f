"""Everything that passes between the parties of a run.

Hosts share no memory but what these messages carry: orders from the coordinator to a host, reports back, and tensors
between hosts. Each is plain data with a fixed form, so that nothing received is ever executed. Tensors are detached,
contiguous, and read-only by agreement: whoever receives one must not write to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFrame:
    """A tensor on its way from the host that made it to a host that needs it.

    Raises:
        TransportError: SW-T103; the tensor is not contiguous or still belongs to a graph.
    """

    slot: Slot
    source: str
    destination: str
    tensor: Tensor

    def __post_init__(self) -> None:
        if self.tensor.requires_grad or not self.tensor.is_contiguous():
            raise TransportError(
                "SW-T103",
                "a tensor is not fit to travel",
                where=str(self.slot),
                expected="detached and contiguous",
                got=f"requires_grad={self.tensor.requires_grad}, contiguous={self.tensor.is_contiguous()}",
                remedy="a hook must return tensor.detach().contiguous()",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """What training changes in a stage: parameters, and for each of them what the optimizer remembers.

    Both maps use the names of the whole model. `moments` is empty before the first step. Under adapters the parameters
    are theirs alone.
    """

    parameters: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Order: host this stage from now on."""

    stage: int
    stages: int
    first_layer: int
    last_layer: int
    state: StageState
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    """What training leaves alone: the base model under adapters; it travels with this order and never again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Order: play this lane for one step. Actions are in their text form."""

    run: str
    view: int
    attempt: int
    step: int
    training: bool
    actions: tuple[str, ...]
    positions: Mapping[int, Tensor] = field(default_factory=dict)
    """Micro-batch to positions (B, T) int64, where rows hold several examples: 0 again at the start of each.

    Empty where each row is one sequence.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Order: build the step's new state beside the old one."""

    step: int
    learning_rate: float
    clip_coefficient: float
    """Factor on every gradient, at most 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Order: let the prepared state take the old one's place."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Order: drop everything of the step in work; the old state stands."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendState:
    """Order: report a stage's committed state."""

    stage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Order: end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Report: the stage is hosted."""

    host: str
    stage: int


class PassTime(NamedTuple):
    """When a host computed one action, in seconds since the order to play had come to it, by the host's own clock."""

    action: str
    """In its text form."""
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Report: the lane is done.

    `norms` holds the norm of each parameter's gradient (0-dim); `losses` each micro-batch's mean loss in nats (0-dim),
    from the host of the last stage alone; `work` says when each forward and backward pass ran, in their order.
    """

    host: str
    step: int
    norms: Mapping[str, Tensor]
    losses: Mapping[int, Tensor]
    work: tuple[PassTime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Report: the new state stands beside the old one."""

    host: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Report: the new state is in force."""

    host: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """Report: nothing of the step is left."""

    host: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReport:
    """Report: a stage's committed state."""

    host: str
    stage: int
    state: StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """Report: the host met a NaN or an infinity in what it had made itself, and stopped."""

    host: str
    slot: Slot
    what: str


Order = Assign | Play | Prepare | Commit | Discard | SendState | Stop
Report = Assigned | Played | Prepared | Committed | Discarded | StateReport | NonFinite
Message = TensorFrame | Order | Report
