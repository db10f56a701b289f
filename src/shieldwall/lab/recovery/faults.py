"""What can happen to a worker, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from shieldwall.core.ids import Direction
from shieldwall.core.messages import Commit, ListState, Message, Prepare, TakeChunk, TensorFrame


class Moment(StrEnum):
    """What a worker has just been told when it happens."""

    FORWARD = "forward"
    """An activation has come."""
    BACKWARD = "backward"
    """A gradient has come."""
    PREPARE = "prepare"
    """It is to build the new state beside the old one."""
    COMMIT = "commit"
    """The step counts."""
    CHECKPOINT = "checkpoint"
    """Its state is wanted."""
    TRANSFER = "transfer"
    """It has come back, and is being given a state."""


class How(StrEnum):
    """What happens."""

    KILL = "kill"
    """SIGKILL."""
    STOP = "stop"
    """SIGSTOP; SIGCONT once it was noticed."""
    CUT = "cut"
    """Nothing passes in either direction until it was noticed; nobody is told, no connection ends."""
    DUMB = "dumb"
    """What the worker says does not pass; what is said to it does."""
    DEAF = "deaf"
    """What is said to the worker does not pass; what it says does."""


CUTS = (How.CUT, How.DUMB, How.DEAF)


@dataclass(frozen=True, slots=True)
class Fault:
    """One of a run's."""

    worker: int
    moment: Moment
    how: How


def draw_faults(random: Random, count: int, workers: int, hows: Sequence[How] = tuple(How)) -> list[Fault]:
    """So many faults; every moment and every kind comes as often as every other, give or take one."""
    moments = _shuffled_rounds(random, tuple(Moment), count)
    kinds = _shuffled_rounds(random, tuple(hows), count)
    return [Fault(random.randrange(1, workers + 1), moment, how) for moment, how in zip(moments, kinds, strict=True)]


def moment_of(message: Message) -> Moment | None:
    """Which moment it is for a worker that is told this."""
    if isinstance(message, TensorFrame):
        return Moment.FORWARD if message.slot.direction is Direction.FORWARD else Moment.BACKWARD
    return _MOMENTS.get(type(message))


_MOMENTS: dict[type[Message], Moment] = {
    Prepare: Moment.PREPARE,
    Commit: Moment.COMMIT,
    ListState: Moment.CHECKPOINT,
    TakeChunk: Moment.TRANSFER,
}


def _shuffled_rounds(random: Random, things: Sequence[Any], count: int) -> list[Any]:
    drawn: list[Any] = []
    while len(drawn) < count:
        drawn += random.sample(things, len(things))
    return drawn[:count]
