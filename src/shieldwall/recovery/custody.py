"""Who checks whom is drawn: workers change places until nobody could have known who stands beside whom (design 4.8).

    places    worker-1 (1)   worker-2 (2, checks 1)   worker-3 (3, checks 2)   spare worker-4 ()
    drawn     worker-3       worker-4                 worker-1                 worker-2

A place is what one worker holds, stages and duplicates, and moves as a whole. So a stage and its duplicate are on two
hosts after every draw if they were before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from shieldwall.core.ids import INITIATOR
from shieldwall.schedule import Host

ALIKE = 1.5
"""Workers change places with each other whose speeds are at most this factor apart; the plan suits no others."""

Swap = tuple[str, str]
"""Two workers that change places."""


def draw_swaps(hosts: Sequence[Host], spares: Sequence[str], random: Random) -> list[Swap]:
    """Swaps, to be made one after the other, after which every order of workers that are alike is as likely.

    Args:
        hosts: who holds what; the initiator keeps its place.
        spares: who holds nothing yet and may be drawn too; they count as fast as the machine that costs were measured
            on.
        random: draws. What workers could foresee is worth nothing, so a run gives the operating system's.
    """
    places = [host for host in hosts if host.name != INITIATOR]
    places += [Host(name, ()) for name in spares]
    return [swap for pool in _pools(places) for swap in _shuffled(pool, random)]


def exchanged(hosts: Sequence[Host], spares: Sequence[str], swap: Swap) -> tuple[tuple[Host, ...], list[str]]:
    """Hosts and spares once two of them have changed places."""
    other = {swap[0]: swap[1], swap[1]: swap[0]}
    moved = tuple(replace(host, name=other.get(host.name, host.name)) for host in hosts)
    return moved, [other.get(name, name) for name in spares]


def _pools(places: Sequence[Host]) -> list[list[str]]:
    """Names of those who are alike, from the slowest on."""
    pools: list[list[str]] = []
    slowest = 0.0
    for place in sorted(places, key=lambda place: place.speed):
        if not pools or place.speed > slowest * ALIKE:
            pools.append([])
            slowest = place.speed
        pools[-1].append(place.name)
    return pools


def _shuffled(names: Sequence[str], random: Random) -> list[Swap]:
    """The swaps of Fisher and Yates: all orders are equally likely, those that stay as they were among them."""
    order = list(names)
    swaps = []
    for last in range(len(order) - 1, 0, -1):
        drawn = random.randrange(last + 1)
        if drawn != last:
            swaps.append((order[drawn], order[last]))
            order[drawn], order[last] = order[last], order[drawn]
    return swaps
