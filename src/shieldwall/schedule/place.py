"""List scheduling: when each computation of a step starts if every host picks the next one by a rule.

Stages and duplicates are tracks, each with an order of its own; the tracks of a processor contend for it. The order
in which the computations of a host start becomes its lane, so no lane can wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.flow import Parcel, needed_by
from shieldwall.schedule.play import Played
from shieldwall.schedule.timing import Processor, TimedAction, Timing

_ROUNDING = 1e-9
"""Share of a check by which a gap may be too short for it: sums of floats are no exact times."""

Rank = Callable[[Action, Timing], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a processor chooses among what it could start.

    Args:
        rank: the lowest goes first, of what can start at the same moment.
        patience: share of a check by which it may make the next pass of a stage late; infinite: a check never waits;
            negatively infinite: it waits until its processor has no pass left.
        paired: a duplicate runs each micro-batch forward only when it can run it backward at once.
        settled: whether a tensor must be settled before it is used.
    """

    rank: Rank
    patience: float = inf
    paired: bool = False
    settled: bool = False


@dataclass(slots=True)
class _Track:
    """How far a stage or duplicate has come. `ready_s` is when its next computation has all its inputs, if known."""

    actions: Sequence[Action]
    position: int = 0
    clock_s: float = 0.0
    ready_s: float | None = None

    @property
    def head(self) -> Action | None:
        return self.actions[self.position] if self.position < len(self.actions) else None


@dataclass(slots=True)
class _Placing:
    """One run of the list scheduler."""

    tracks: list[_Track]
    timing: Timing
    rule: Rule
    due_s: Mapping[Action, float]
    end_s: dict[Action, float] = field(default_factory=dict)
    free_s: dict[Processor, float] = field(default_factory=dict)

    def choose(self) -> tuple[float, int] | None:
        """The next computation to start: (its start, the number of its track), or None where nothing can."""
        due_s = self._next_passes() if self.rule.patience < inf else {}
        best: tuple[float, tuple[int, ...], int] | None = None
        for number, track in enumerate(self.tracks):
            head = track.head
            if head is None:
                continue
            if track.ready_s is None:
                track.ready_s = self._ready_s(head)
                if track.ready_s is None:
                    continue
            processor = self.timing.processor(head)
            start_s = max(track.ready_s, track.clock_s, self.free_s.get(processor, 0.0))
            if head.kind.is_check and processor in due_s and not self._fits(head, start_s, due_s[processor]):
                continue
            if best is None or start_s <= best[0]:
                candidate = (start_s, self.rule.rank(head, self.timing), number)
                best = candidate if best is None else min(best, candidate)
        return None if best is None else (best[0], best[2])

    def start(self, start_s: float, number: int) -> TimedAction:
        """Place the next computation of track `number`."""
        track = self.tracks[number]
        compute = track.actions[track.position]
        done = self.timing.timed(compute, start_s)
        track.clock_s = self.free_s[self.timing.processor(compute)] = self.end_s[compute] = done.end_s
        track.position += 1
        track.ready_s = None
        return done

    def _next_passes(self) -> dict[Processor, float]:
        """For each processor when its next pass of a stage is due."""
        due_s: dict[Processor, float] = {}
        for track in self.tracks:
            head = track.head
            if head is None or head.kind.is_check:
                continue
            processor = self.timing.processor(head)
            head_s = max(self.due_s.get(head, 0.0), track.ready_s or 0.0)
            due_s[processor] = min(due_s.get(processor, inf), head_s)
        return due_s

    def _fits(self, check: Action, start_s: float, due_s: float) -> bool:
        seconds = self.timing.seconds(check)
        return start_s + seconds * (1 - self.rule.patience - _ROUNDING) <= due_s

    def _ready_s(self, compute: Action) -> float | None:
        """When everything that `compute` works on is there, or None where that cannot be said yet."""
        here, custody = self.timing.custody.host_of(compute).name, self.timing.custody
        needed = [needed_by(compute, custody.stages)]
        if compute.kind is Kind.CHECK_FORWARD and self.rule.paired:
            twin = Action(Kind.CHECK_BACKWARD, compute.stage, compute.micro_batch)
            needed.append(needed_by(twin, custody.stages))
        times = [self._there_s(parcel, here) for parcel in needed if parcel]
        if compute.kind is Kind.CHECK_BACKWARD:
            times.append(self.end_s.get(Action(Kind.CHECK_FORWARD, compute.stage, compute.micro_batch)))
        known = [seconds for seconds in times if seconds is not None]
        return max(known, default=0.0) if len(known) == len(times) else None

    def _there_s(self, parcel: Parcel, here: str) -> float | None:
        made_s = self.end_s.get(parcel.maker)
        if made_s is None:
            return None
        custody = self.timing.custody
        arrival_s = made_s + self.timing.way_s(custody.holders[parcel.stage].name, here)
        if not self.rule.settled or custody.checker_of(parcel) is None:
            return arrival_s
        settled_s = self.timing.settled_s(parcel, here, self.end_s)
        return None if settled_s is None else max(arrival_s, settled_s)


def place(
    tracks: Sequence[Sequence[Action]], timing: Timing, rule: Rule, due_s: Mapping[Action, float] | None = None
) -> Played:
    """Start every computation as early as the rule lets it.

    Args:
        tracks: what each stage and each duplicate computes, in order.
        timing: how long it takes.
        rule: which computation goes first, and how long a check holds back.
        due_s: for a finite patience, when each pass of a stage is expected to start.

    Cost: the number of computations times the number of tracks.
    """
    placing = _Placing([_Track(actions) for actions in tracks], timing, rule, due_s or {})
    work: list[TimedAction] = []
    while (chosen := placing.choose()) is not None:
        work.append(placing.start(*chosen))
    stuck = tuple(number for number, track in enumerate(placing.tracks) if track.head is not None)
    return Played(tuple(work), stuck)
