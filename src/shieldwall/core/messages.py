"""Everything that passes between the parties of a run.

Hosts share no memory but what these messages carry: orders from the coordinator to a host, reports back, and tensors
between hosts. Each is plain data with a fixed form, so that nothing received is ever executed. Tensors are detached,
contiguous, and read-only by agreement: whoever receives one must not write to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import Place, Role, Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import GradientClaim, Header, Receipt, StateOpening, StateSeal


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFrame:
    """A tensor on its way from the host that made it to a host that needs it, as it is sent: packed by the run's
    `Compression`.

    Raises:
        TransportError: SW-T103; the tensor is not contiguous or still belongs to a graph.
    """

    slot: Slot
    source: str
    destination: str
    tensor: Tensor
    header: Signed[Header] | None = None
    """The maker's commitment; None in a run that checks nothing."""

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
class Note:
    """A signed statement on its way, without a tensor."""

    signed: Signed[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A note on its way through the server of a star to the host `destination`."""

    destination: str
    note: Note


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """What training changes in a stage: parameters, and for each of them what the optimizer remembers.

    Both maps use the names of the whole model. `moments` is empty before the first step. Under adapters the parameters
    are theirs alone.
    """

    parameters: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Order: this is the run, and what everybody in it must do alike. The first that a worker on another machine hears.

    `model` and `adapter` are configurations as JSON, of transformers and of peft; `adapter` is empty without adapters.
    """

    run: str
    topology: str
    checked: bool
    threads: int
    seed: int
    model: str
    attention: str
    dtype: str
    autocast: bool
    adapter: str
    optimizer: str
    """Its settings as JSON."""
    gradient_checkpointing: bool
    compression: str
    """Of what crosses a border."""
    frame_bytes: int
    """The largest message with a tensor that crosses a border."""
    state_bytes: int
    """The largest message with the state of a stage."""
    silence_s: float
    """Who says nothing for so long is gone, or the line to it is."""
    rows: int = 1
    """Tokens of a micro-batch: with as many a worker measures its speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Order: hold this stage, or a duplicate of it, from now on, in this state."""

    stage: int
    stages: int
    role: Role = Role.STAGE
    first_layer: int
    last_layer: int
    state: StageState
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    """What training leaves alone: the base model under adapters; it travels with this order and never again."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Where there are any, state and base are what the host has by these names with these roots: tensors that were sent
    in chunks before, or that it still had."""


class Outline(NamedTuple):
    """What a tensor of a state is, before its bytes come."""

    root: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListState:
    """Order: report what a stage's or duplicate's committed state is made of. `SendChunk` is about what was listed."""

    stage: int
    role: Role = Role.STAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class SendChunk:
    """Order: send some bytes of a tensor that was listed, from byte `offset` on."""

    stage: int
    role: Role
    name: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKept:
    """Order: report what you have of a stage, be it that you hold it or once did, or that it has begun to come."""

    stage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeChunk:
    """Order: put these bytes by, from byte `offset` on, of a tensor of a stage that you are going to hold."""

    stage: int
    name: str
    outline: Outline
    offset: int
    content: Tensor
    """(N,) uint8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Order: let go of a stage or duplicate."""

    stage: int
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Order: from now on this is who holds what, and these are everybody's public keys.

    `holders` and `checkers` give each stage's host and the host of its duplicate; stages without a checker are trusted.
    """

    view: int
    holders: Mapping[int, str]
    checkers: Mapping[int, str]
    keys: Mapping[str, bytes]
    arithmetic: str
    """Root of the arithmetic class that everyone computes in."""
    bypassed: tuple[int, ...] = ()
    """Stages that the initiator plays without layers: what comes in goes on as it is."""
    still: tuple[int, ...] = ()
    """Stages that keep their state while this view lasts, those that are bypassed among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Order: play this lane for one step. Actions are in their text form."""

    run: str
    view: int
    attempt: int
    step: int
    training: bool
    stages: int
    actions: tuple[str, ...]
    positions: Mapping[int, Tensor] = field(default_factory=dict)
    """Micro-batch to positions (B, T) int64, where rows hold several examples: 0 again at the start of each.

    Empty where each row is one sequence.
    """
    shapes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Micro-batch to the shape (B, T, D) of what crosses its borders; a frame of another shape is refused."""
    sums_up: bool = False
    """Whether gradients are summed up as soon as the lane is played, as after `SumUp`: where nothing is checked nothing
    is run again, and an order and its answer are saved."""


class Way(NamedTuple):
    """Who makes a tensor, and the other hosts that work on it."""

    source: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Order to the server of a star: these are the tensors of the lanes that are played next, and their ways."""

    run: str
    view: int
    attempt: int
    step: int
    hosts: tuple[str, ...]
    """Everybody who plays a lane."""
    ways: Mapping[Place, Way]


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Order: leave out what is left of these micro-batches in the lane that is played; they will be run again."""

    step: int
    attempt: int
    micro_batches: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct:
    """Order: this is the tensor of this slot, as it is sent, whatever came for it; the initiator's header says so."""

    header: Signed[Header]
    tensor: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Order: report what you have of this slot's tensor: as its maker, or as one to whom it was sent."""

    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class SumUp:
    """Order: add up the gradients of the step's micro-batches and report their norms."""

    step: int
    still: tuple[int, ...] = ()
    """Stages that keep their state in this step: their gradients are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeGradients:
    """Order: these are the step's summed gradients of a stage or duplicate, whatever you have."""

    step: int
    stage: int
    role: Role
    gradients: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePrepared:
    """Order: this is the step's new state of a stage or duplicate, whatever you have built."""

    step: int
    stage: int
    role: Role
    state: StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Order: build the step's new state beside the old one."""

    step: int
    learning_rate: float
    clip_coefficients: Mapping[int, float]
    """For each stage the factor on every gradient, at most 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Order: open the envelopes with the roots of the new states."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Order: let the prepared state take the old one's place."""

    step: int
    head: str = ""
    """The ledger's head once the step is in it; empty in a run without a ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Order: drop everything of the step in work; the old state stands."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendState:
    """Order: report a stage's or duplicate's committed state."""

    stage: int
    role: Role = Role.STAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Order: end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Report: the stage or duplicate is held."""

    host: str
    stage: int
    role: Role = Role.STAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Report: the stage or duplicate is let go of."""

    host: str
    stage: int
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """Report: the view is known."""

    host: str
    view: int


class PassTime(NamedTuple):
    """When a host computed one action, in seconds since the order to play had come to it, by the host's own clock."""

    action: str
    """In its text form."""
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Report: the lane is done.

    `losses` holds each micro-batch's mean loss in nats (0-dim), from the host of the last stage alone; `work` says when
    each pass ran, in their order. `norms` is what `SummedUp` has, where the order was to sum up too.
    """

    host: str
    step: int
    attempt: int
    losses: Mapping[int, Tensor]
    work: tuple[PassTime, ...]
    norms: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """Report: the correction is in the place of what had come for its slot."""

    host: str
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Report: what the host has of a slot's tensor; both None where it has nothing."""

    host: str
    slot: Slot
    tensor: Tensor | None
    header: Signed[Header] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedUp:
    """Report: the norm of each parameter's summed gradient (0-dim); one claim for each checked stage or duplicate."""

    host: str
    step: int
    norms: Mapping[str, Tensor]
    claims: tuple[Signed[GradientClaim], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Report: what was sent in place of the host's own is in its place."""

    host: str
    step: int
    stage: int
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Report: the new state stands beside the old one; one closed envelope for each checked stage or duplicate."""

    host: str
    step: int
    seals: tuple[Signed[StateSeal], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Report: the envelopes, opened."""

    host: str
    step: int
    openings: tuple[Signed[StateOpening], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Report: the new state is in force."""

    host: str
    step: int
    receipt: Signed[Receipt] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """Report: nothing of the step is left."""

    host: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReport:
    """Report: a stage's or duplicate's committed state."""

    host: str
    stage: int
    state: StageState
    role: Role = Role.STAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class StateListed:
    """Report: what the committed state is made of; tensors by the names of `core.flat_state`."""

    host: str
    stage: int
    role: Role
    tensors: Mapping[str, Outline]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSent:
    """Report: bytes of a tensor of a state."""

    host: str
    stage: int
    role: Role
    name: str
    offset: int
    content: Tensor
    """(N,) uint8."""


class Begun(NamedTuple):
    """A tensor that has come in part: what it is to be, and how many bytes are there from its beginning on."""

    root: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptListed:
    """Report: roots of the tensors of a stage that the host has, and what has begun to come."""

    host: str
    stage: int
    roots: Mapping[str, str]
    begun: Mapping[str, Begun]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkTaken:
    """Report: the bytes are put by."""

    host: str
    stage: int
    name: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """Report: the host met a NaN or an infinity in what it had made itself, and stopped.

    In a run that is checked a host signs a `Halt` instead and plays on; there this report says no more than `Played`.
    """

    host: str
    slot: Slot
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """News for the coordinator from its own transport: a host cannot be reached any more, and has lost its state."""

    host: str
    silent_s: float
    """For how long nothing had been heard of it when that was noticed."""
    kind: str = "gone"
    """Why: "gone", or what it said itself before it went, as in `Unable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """News for the coordinator from its own transport: a host is there that holds nothing."""

    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """News for the coordinator from a host itself: it wants to go, and works on until it is let go."""

    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Able:
    """News for the run's muster from a worker: what its machine can do, as it says. It is a claim and nothing more."""

    host: str
    passes_per_s: float
    """Of the standard probe of `run/machines/speed.py`, in the run's threads and type of numbers."""
    memory_bytes: int
    """What it may take of memory before it holds anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unable:
    """News for the run's muster from a worker: it cannot go on, and ends. `kind` is "memory" or "disk"."""

    host: str
    kind: str


class Peer(NamedTuple):
    """A worker that is there."""

    life: int
    """Counts all arrivals at the run: another number is another life, in which nothing of the one before holds."""
    addresses: tuple[str, ...]
    """Where other workers can dial it, HOST:PORT; none where it does not listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """News for the transport of a worker from the initiator's directory: everybody who is there now, itself included.

    Whoever is not named is not to be dialled, nor to be let in.
    """

    peers: Mapping[str, Peer]
    silence_s: float
    """A line between two workers over which nothing has come for so long is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """News for the initiator's directory from the transport of a worker: how its messages go to workers that listen."""

    host: str
    direct: tuple[str, ...]
    relayed: Mapping[str, str]
    """Name to why they are relayed, in words."""


Order = (
    Welcome
    | Assign
    | Release
    | View
    | Play
    | Route
    | Void
    | Correct
    | Show
    | SumUp
    | TakeGradients
    | Prepare
    | Open
    | TakePrepared
    | Commit
    | Discard
    | SendState
    | ListState
    | SendChunk
    | ListKept
    | TakeChunk
    | Stop
)
Report = (
    Assigned
    | Released
    | Viewed
    | Played
    | Corrected
    | Shown
    | SummedUp
    | Taken
    | Prepared
    | Opened
    | Committed
    | Discarded
    | StateReport
    | StateListed
    | ChunkSent
    | KeptListed
    | ChunkTaken
    | NonFinite
)
News = Gone | Came | Leaving | Able | Unable | Peers | Ways
Message = TensorFrame | Note | Relay | Order | Report | News
