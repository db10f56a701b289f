"""Play lanes against a clock, without running anything.

A lane does one action after the other. A send takes no time and its tensor arrives `transfer_s` later; a receive
blocks the lane until then; a computation needs its processor for itself. Where several computations could start on
one processor at the same moment, backward goes first, then the lowest micro-batch, then the deepest stage: the
oldest work is finished first, which frees memory and keeps the order the same on one processor and on many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.costs import StageCosts
from shieldwall.schedule.flow import Parcel, parcel_of
from shieldwall.schedule.plan import Host


@dataclass(frozen=True, slots=True)
class TimedAction:
    """One computation and when it runs, in seconds from the start of the step."""

    host: str
    stage: int
    micro_batch: int
    kind: Kind
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take: the costs of the stages on the hosts that hold them.

    Args:
        hosts: the host of each stage.
        costs: seconds on a host of speed 1.
    """

    hosts: Mapping[int, Host]
    costs: StageCosts

    def seconds(self, compute: Action) -> float:
        """Seconds that `compute` takes on the host of its stage."""
        return self.costs.seconds(compute) / self.hosts[compute.stage].speed

    def transfer_s(self, parcel: Parcel) -> float:
        """Seconds that `parcel` is on its way; 0 between stages of one host."""
        same = self.hosts[parcel.stage].name == self.hosts[parcel.consumer].name
        return 0.0 if same else self.costs.transfer_s

    def processor(self, compute: Action) -> tuple[str, str]:
        """What `compute` needs for itself: a shared processor, or the host's own."""
        host = self.hosts[compute.stage]
        return ("own", host.name) if host.processor is None else ("shared", host.processor)

    def timed(self, compute: Action, start_s: float) -> TimedAction:
        """`compute` as it runs when it starts at `start_s`."""
        end_s = start_s + self.seconds(compute)
        host = self.hosts[compute.stage].name
        return TimedAction(host, compute.stage, compute.micro_batch, compute.kind, start_s, end_s)


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the lanes.

    Args:
        work: every computation, in the order in which they started.
        stuck: numbers of the lanes that wait for ever, from 0; empty where all came to their end.
    """

    work: tuple[TimedAction, ...]
    stuck: tuple[int, ...]


@dataclass(slots=True)
class _Track:
    """How far one lane has come, and the time at which its next action can begin."""

    actions: Sequence[Action]
    position: int = 0
    clock_s: float = 0.0

    @property
    def head(self) -> Action | None:
        return self.actions[self.position] if self.position < len(self.actions) else None


def play(lanes: Iterable[Sequence[Action]], timing: Timing) -> Played:
    """Play all lanes at once. Every tensor is sent at most once, and every stage of an action has a host in `timing`.

    Cost: the number of actions times the number of lanes.
    """
    tracks = [_Track(lane) for lane in lanes]
    arrivals_s: dict[Parcel, float] = {}
    free_s: dict[tuple[str, str], float] = {}
    work: list[TimedAction] = []
    while True:
        _pass_tensors(tracks, arrivals_s, timing)
        waiting = [
            (max(track.clock_s, free_s.get(timing.processor(head), 0.0)), _urgency(head, timing), number)
            for number, track in enumerate(tracks)
            if (head := track.head) is not None and head.kind.is_compute
        ]
        if not waiting:
            return Played(tuple(work), tuple(n for n, track in enumerate(tracks) if track.head is not None))
        start_s, _, number = min(waiting)
        compute = tracks[number].actions[tracks[number].position]
        done = timing.timed(compute, start_s)
        work.append(done)
        tracks[number].clock_s = free_s[timing.processor(compute)] = done.end_s
        tracks[number].position += 1


def _urgency(compute: Action, timing: Timing) -> tuple[bool, int, int]:
    """What a processor prefers among computations that are ready: backward, then what lets others go on.

    A host with a processor of its own feeds the others: the deepest stage first backward, the shallowest first forward.
    Hosts that share a processor gain nothing by that, and take the lowest micro-batch first, which frees its memory.
    """
    backward = compute.kind is Kind.BACKWARD
    if timing.hosts[compute.stage].processor is None:
        return (not backward, -compute.stage if backward else compute.stage, compute.micro_batch)
    return (not backward, compute.micro_batch, -compute.stage)


def _pass_tensors(tracks: Sequence[_Track], arrivals_s: dict[Parcel, float], timing: Timing) -> None:
    """Let every lane send and receive until each stands before a computation or an absent tensor."""
    moved = True
    while moved:
        moved = any(_pass_one(track, arrivals_s, timing) for track in tracks)


def _pass_one(track: _Track, arrivals_s: dict[Parcel, float], timing: Timing) -> bool:
    start = track.position
    while (head := track.head) is not None and not head.kind.is_compute:
        parcel = parcel_of(head)
        if head.kind.is_send:
            arrivals_s[parcel] = track.clock_s + timing.transfer_s(parcel)
        elif parcel in arrivals_s:
            track.clock_s = max(track.clock_s, arrivals_s[parcel])
        else:
            break
        track.position += 1
    return track.position > start
