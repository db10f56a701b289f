"""Play lanes against a clock, without running anything.

A lane does one action after the other. A send takes no time and its tensor arrives `transfer_s` later; a receive
blocks the lane until then, and a wait until its tensor is settled; a computation needs its processor for itself. Where
several computations could start on one processor at the same moment, `Timing.urgency` says which goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shieldwall.schedule.actions import Action
from shieldwall.schedule.flow import Parcel, parcel_of
from shieldwall.schedule.plan import Lane
from shieldwall.schedule.timing import Processor, TimedAction, Timing


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the lanes.

    Args:
        work: every computation, in the order in which they started.
        stuck: numbers of the lanes that wait for ever, from 0; empty where all came to their end.
    """

    work: tuple[TimedAction, ...]
    stuck: tuple[int, ...]

    @property
    def step_s(self) -> float:
        """Seconds from the start of the step to the end of its last computation."""
        return max((done.end_s for done in self.work), default=0.0)


@dataclass(slots=True)
class _Track:
    """How far one lane has come, and the time at which its next action can begin."""

    host: str
    actions: Sequence[Action]
    position: int = 0
    clock_s: float = 0.0

    @property
    def head(self) -> Action | None:
        return self.actions[self.position] if self.position < len(self.actions) else None


class _Clocks:
    """What is known of the step so far, in seconds from its start."""

    def __init__(self) -> None:
        self.arrival_s: dict[tuple[Parcel, str], float] = {}
        """When each tensor is on each host that it was sent to."""
        self.end_s: dict[Action, float] = {}
        """When each computation has ended."""
        self.free_s: dict[Processor, float] = {}
        """When each processor has done what it was given."""


def play(lanes: Iterable[Lane], timing: Timing) -> Played:
    """Play all lanes at once. Each tensor is sent to a host at most once; each computation has a host in `timing`.

    Cost: the number of actions times the number of lanes.
    """
    tracks = [_Track(lane.host, lane.actions) for lane in lanes]
    clocks = _Clocks()
    work: list[TimedAction] = []
    while True:
        _pass_tensors(tracks, clocks, timing)
        waiting = [
            (max(track.clock_s, clocks.free_s.get(timing.processor(head), 0.0)), timing.urgency(head), number)
            for number, track in enumerate(tracks)
            if (head := track.head) is not None and head.kind.is_compute
        ]
        if not waiting:
            return Played(tuple(work), tuple(n for n, track in enumerate(tracks) if track.head is not None))
        start_s, _, number = min(waiting)
        compute = tracks[number].actions[tracks[number].position]
        done = timing.timed(compute, start_s)
        work.append(done)
        tracks[number].clock_s = clocks.free_s[timing.processor(compute)] = clocks.end_s[compute] = done.end_s
        tracks[number].position += 1


def _pass_tensors(tracks: Sequence[_Track], clocks: _Clocks, timing: Timing) -> None:
    """Let every lane send, receive and wait until each stands before a computation or what is not there yet."""
    moved = True
    while moved:
        moved = any(_pass_one(track, clocks, timing) for track in tracks)


def _pass_one(track: _Track, clocks: _Clocks, timing: Timing) -> bool:
    start = track.position
    while (head := track.head) is not None and not head.kind.is_compute:
        parcel = parcel_of(head)
        if head.kind.is_send:
            for to in timing.receivers(parcel, head.peer):
                clocks.arrival_s[parcel, to] = track.clock_s + timing.way_s(track.host, to)
        else:
            there_s = (
                timing.settled_s(parcel, track.host, clocks.end_s)
                if head.kind.is_wait
                else clocks.arrival_s.get((parcel, track.host))
            )
            if there_s is None:
                break
            track.clock_s = max(track.clock_s, there_s)
        track.position += 1
    return track.position > start
