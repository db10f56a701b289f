"""List scheduling: when each computation of a step starts if every host picks the next one by a rule.

Stages and duplicates are tracks, each with an order of its own; the tracks of a processor contend for it. The order
in which the computations of a host start becomes its lane, so no lane can wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

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


class _Input(NamedTuple):
    """A tensor that a computation works on, or the forward pass that its backward pass belongs to."""

    maker: Action
    way_s: float
    """From the maker's host."""
    unsettled: Parcel | None
    """The tensor that has to be settled before it is used; None where it need not be."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A computation with all that does not change while it waits for its turn."""

    compute: Action
    host: str
    processor: Processor
    is_check: bool
    seconds: float
    rank: tuple[int, ...]
    inputs: tuple[_Input, ...]


@dataclass(slots=True)
class _Track:
    """How far a stage or duplicate has come. `ready_s` is when its next computation has all its inputs, if known."""

    tasks: Sequence[_Task]
    position: int = 0
    clock_s: float = 0.0
    ready_s: float | None = None

    @property
    def head(self) -> _Task | None:
        return self.tasks[self.position] if self.position < len(self.tasks) else None


@dataclass(slots=True)
class _Placing:
    """One run of the list scheduler."""

    tracks: list[_Track]
    timing: Timing
    patience: float
    due_s: Mapping[Action, float]
    end_s: dict[Action, float] = field(default_factory=dict)
    free_s: dict[Processor, float] = field(default_factory=dict)

    def choose(self) -> tuple[float, int] | None:
        """The next computation to start: (its start, the number of its track), or None where nothing can."""
        due_s = self._next_passes() if self.patience < inf else {}
        best: tuple[float, tuple[int, ...], int] | None = None
        for number, track in enumerate(self.tracks):
            head = track.head
            if head is None:
                continue
            if track.ready_s is None:
                track.ready_s = self._ready_s(head)
                if track.ready_s is None:
                    continue
            start_s = max(track.ready_s, track.clock_s, self.free_s.get(head.processor, 0.0))
            if head.is_check and head.processor in due_s and not self._fits(head, start_s, due_s[head.processor]):
                continue
            if best is None or start_s <= best[0]:
                candidate = (start_s, head.rank, number)
                best = candidate if best is None else min(best, candidate)
        return None if best is None else (best[0], best[2])

    def start(self, start_s: float, number: int) -> TimedAction:
        """Place the next computation of track `number`."""
        track = self.tracks[number]
        task = track.tasks[track.position]
        end_s = start_s + task.seconds
        track.clock_s = self.free_s[task.processor] = self.end_s[task.compute] = end_s
        track.position += 1
        track.ready_s = None
        compute = task.compute
        return TimedAction(task.host, compute.stage, compute.micro_batch, compute.kind, start_s, end_s)

    def _next_passes(self) -> dict[Processor, float]:
        """For each processor when its next pass of a stage is due."""
        due_s: dict[Processor, float] = {}
        for track in self.tracks:
            head = track.head
            if head is None or head.is_check:
                continue
            head_s = max(self.due_s.get(head.compute, 0.0), track.ready_s or 0.0)
            due_s[head.processor] = min(due_s.get(head.processor, inf), head_s)
        return due_s

    def _fits(self, check: _Task, start_s: float, due_s: float) -> bool:
        return start_s + check.seconds * (1 - self.patience - _ROUNDING) <= due_s

    def _ready_s(self, task: _Task) -> float | None:
        """When everything that it works on is there, or None where that cannot be said yet."""
        ready_s = 0.0
        for needed in task.inputs:
            made_s = self.end_s.get(needed.maker)
            if made_s is None:
                return None
            there_s = made_s + needed.way_s
            if needed.unsettled is not None:
                settled_s = self.timing.settled_s(needed.unsettled, task.host, self.end_s)
                if settled_s is None:
                    return None
                there_s = max(there_s, settled_s)
            ready_s = max(ready_s, there_s)
        return ready_s


def _task(compute: Action, timing: Timing, rule: Rule) -> _Task:
    host = timing.custody.host_of(compute).name
    return _Task(
        compute=compute,
        host=host,
        processor=timing.processor(compute),
        is_check=compute.kind.is_check,
        seconds=timing.seconds(compute),
        rank=rule.rank(compute, timing),
        inputs=tuple(_inputs(compute, host, timing, rule)),
    )


def _inputs(compute: Action, here: str, timing: Timing, rule: Rule) -> Iterator[_Input]:
    """What `compute` works on; in a pair the forward check waits for what its backward check needs too."""
    custody = timing.custody
    users = [compute]
    if compute.kind is Kind.CHECK_FORWARD and rule.paired:
        users.append(Action(Kind.CHECK_BACKWARD, compute.stage, compute.micro_batch))
    for user in users:
        parcel = needed_by(user, custody.stages)
        if parcel:
            way_s = timing.way_s(custody.holders[parcel.stage].name, here)
            waits = rule.settled and custody.checker_of(parcel) is not None
            yield _Input(parcel.maker, way_s, parcel if waits else None)
    if compute.kind is Kind.CHECK_BACKWARD:
        yield _Input(Action(Kind.CHECK_FORWARD, compute.stage, compute.micro_batch), 0.0, None)


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
    tasks = [_Track([_task(action, timing, rule) for action in actions]) for actions in tracks]
    placing = _Placing(tasks, timing, rule.patience, due_s or {})
    work: list[TimedAction] = []
    while (chosen := placing.choose()) is not None:
        work.append(placing.start(*chosen))
    stuck = tuple(number for number, track in enumerate(placing.tracks) if track.head is not None)
    return Played(tuple(work), stuck)
