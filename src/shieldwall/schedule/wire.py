"""From what a host computes to its lane: the sends, receives and waits between its computations."""

from __future__ import annotations

from collections.abc import Iterable

from shieldwall.core.ids import SERVER
from shieldwall.schedule.actions import Action
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.flow import Parcel, made_by, needed_by
from shieldwall.schedule.plan import Topology


def wire(
    computes: Iterable[Action], here: str, custody: Custody, *, settled: bool, topology: Topology
) -> tuple[Action, ...]:
    """The lane of the host `here`.

    A receive, and a wait where one is due, stand directly before the computation that uses their tensor, sends directly
    after the one that made it. No host needs a tensor twice, because a stage and its duplicate are on two hosts.

    Args:
        computes: what the host computes, in order.
        here: its name.
        custody: who runs what.
        settled: whether a tensor must be settled before it is used.
        topology: in a star each tensor that others need is sent once, to the server.
    """
    actions: list[Action] = []
    for compute in computes:
        needed, made = needed_by(compute, custody.stages), made_by(compute, custody.stages)
        if needed:
            actions += _arrival(needed, here, custody, settled=settled)
        actions.append(compute)
        if made:
            actions += [made.send(to) for to in addressees(made, custody, topology)]
    return tuple(actions)


def addressees(parcel: Parcel, custody: Custody, topology: Topology) -> tuple[str, ...]:
    """Whom the maker of `parcel` sends it to, once each: the hosts that need it, or the server that passes it on."""
    destinations = custody.destinations(parcel)
    return (SERVER,) if destinations and topology == "star" else destinations


def _arrival(parcel: Parcel, here: str, custody: Custody, *, settled: bool) -> list[Action]:
    """What has to be done on `here` before `parcel` can be used."""
    source, checker = custody.holders[parcel.stage].name, custody.checker_of(parcel)
    actions = [] if source == here else [parcel.receive(source)]
    return [*actions, parcel.wait(checker.name)] if settled and checker else actions
