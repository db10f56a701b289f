"""In which order each host computes: the passes of its stages and the checks of its duplicates, merged.

Without checks this is one simulation. With checks several rules are tried, the lanes of each are played, and the
fastest stay; of equally fast ones those whose duplicates keep the fewest micro-batches, then those of the first rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.in_flight import peaks
from shieldwall.schedule.place import Rule, place
from shieldwall.schedule.plan import Host, Lane
from shieldwall.schedule.play import Played, play
from shieldwall.schedule.rules import by_urgency, rules
from shieldwall.schedule.timing import Timing
from shieldwall.schedule.wire import wire

Order = tuple[Action, ...]

_ROUNDS = 3
"""How often a rule that looks ahead is tried again, with the passes due when they last started."""
_DIGITS = 9
"""Steps are equally long that agree in so many digits: sums of floats are no exact times."""


def place_passes(orders: Sequence[Order], timing: Timing) -> Played:
    """The step without checks: every stage plays its own order, stages of one processor contend for it."""
    return place(orders, timing, Rule(by_urgency))


def merge(
    orders: Sequence[Order], passes: Played, hosts: Sequence[Host], timing: Timing, *, settled: bool
) -> tuple[Lane, ...]:
    """One lane for each host.

    Args:
        orders: what each stage computes, in order.
        passes: the step without checks, played to its end.
        hosts: in the order of the lanes.
        timing: how long everything takes.
        settled: whether a tensor must be settled before it is used.

    Cost: without checks nothing to speak of; with checks about 60 times as much, less where rules agree.
    """
    if not timing.custody.checkers:
        return _lanes(passes, hosts, timing, settled=settled)
    best: tuple[float, int] | None = None
    fastest: tuple[Lane, ...] = ()
    for lanes in _candidates(orders, passes, hosts, timing, settled=settled):
        price = (_rounded(play(lanes, timing).step_s), _kept(lanes))
        if best is None or price < best:
            best, fastest = price, lanes
    return fastest


def _candidates(
    orders: Sequence[Order], passes: Played, hosts: Sequence[Host], timing: Timing, *, settled: bool
) -> Iterator[tuple[Lane, ...]]:
    """The lanes of every rule, each once."""
    training = any(action.kind is Kind.BACKWARD for order in orders for action in order)
    seen: set[tuple[Lane, ...]] = set()
    for rule in rules(settled=settled, training=training):
        tracks = [*orders, *_check_tracks(orders, timing, paired=rule.paired)]
        due_s = _starts(passes)
        for _ in range(_ROUNDS if abs(rule.patience) < inf else 1):
            placed = place(tracks, timing, rule, due_s)
            due_s = _starts(placed)
            lanes = _lanes(placed, hosts, timing, settled=settled)
            if lanes in seen:
                break
            seen.add(lanes)
            yield lanes


def _check_tracks(orders: Sequence[Order], timing: Timing, *, paired: bool) -> Iterator[Order]:
    """What each duplicate computes: its checks in the order of its stage's passes, of both directions or in pairs.

    That order cannot wait in a circle where those of the stages do not.
    """
    for stage in timing.custody.checkers:
        forward = tuple(_check(action) for action in orders[stage] if action.kind is Kind.FORWARD)
        backward = tuple(_check(action) for action in orders[stage] if action.kind is Kind.BACKWARD)
        if paired:
            yield tuple(
                check for last in backward for check in (Action(Kind.CHECK_FORWARD, last.stage, last.micro_batch), last)
            )
        else:
            yield forward
            yield backward


def _check(compute: Action) -> Action:
    kind = Kind.CHECK_FORWARD if compute.kind is Kind.FORWARD else Kind.CHECK_BACKWARD
    return Action(kind, compute.stage, compute.micro_batch)


def _starts(played: Played) -> dict[Action, float]:
    return {done.compute: done.start_s for done in played.work}


def _lanes(played: Played, hosts: Sequence[Host], timing: Timing, *, settled: bool) -> tuple[Lane, ...]:
    computes: dict[str, list[Action]] = {host.name: [] for host in hosts}
    for done in played.work:
        computes[done.host].append(done.compute)
    return tuple(Lane(name, _wired(actions, name, timing, settled=settled)) for name, actions in computes.items())


def _wired(computes: Sequence[Action], here: str, timing: Timing, *, settled: bool) -> Order:
    return wire(computes, here, timing.custody, settled=settled, topology=timing.topology)


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.{_DIGITS}g}")


def _kept(lanes: Sequence[Lane]) -> int:
    """The most micro-batches that each duplicate keeps at once, summed over the duplicates."""
    return sum(peaks(lanes, Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD).values())
