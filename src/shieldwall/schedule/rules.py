"""The rules that a checked plan is tried with. `make` keeps the one whose plan is fastest."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from shieldwall.core.ids import Direction
from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.place import Rank, Rule
from shieldwall.schedule.timing import Timing

_PATIENCES = (0.0, 0.25, 0.75, 1.0)
"""On generated pipelines twelve values in place of these four gained 0.3 % in the mean and 3 % at most."""


def rules(*, settled: bool, training: bool) -> Iterator[Rule]:
    """What to try, in order of preference.

    Args:
        settled: whether a tensor must be settled before it is used.
        training: whether there is backward work.
    """
    if settled:
        for rank in (by_urgency, by_micro_batch, passes_first(Kind.CHECK_FORWARD), by_direction, checks_first):
            yield Rule(rank, settled=True)
        return
    for paired in (True, False) if training else (False,):
        yield Rule(by_urgency, paired=paired)
        for first in (Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD):
            for patience in (*_PATIENCES, inf):
                yield Rule(passes_first(first), patience, paired=paired)
    yield Rule(passes_first(Kind.CHECK_FORWARD), -inf)


def by_urgency(compute: Action, timing: Timing) -> tuple[int, ...]:
    """A check is as urgent as the pass that it repeats."""
    return timing.urgency(compute)


def passes_first(check: Kind) -> Rank:
    """Passes before checks, and of the checks those of one kind first."""

    def rank(compute: Action, timing: Timing) -> tuple[int, ...]:
        is_check = compute.kind.is_check
        return (is_check, is_check and compute.kind is not check, *timing.urgency(compute))

    return rank


def checks_first(compute: Action, timing: Timing) -> tuple[int, ...]:
    """Backward before forward work, and of both the checks first: others wait for what they settle."""
    forward = compute.kind.direction is Direction.FORWARD
    return (forward, not compute.kind.is_check, *timing.urgency(compute))


def by_direction(compute: Action, timing: Timing) -> tuple[int, ...]:
    """Backward before forward work, and of both the passes first."""
    forward = compute.kind.direction is Direction.FORWARD
    return (forward, compute.kind.is_check, *timing.urgency(compute))


def by_micro_batch(compute: Action, timing: Timing) -> tuple[int, ...]:
    """The oldest micro-batch first: nobody waits for the second while the first is not settled."""
    return (compute.micro_batch, *timing.urgency(compute))
