"""From what a host computes to its lane: the sends, receives and waits between its computations."""

from __future__ import annotations

from collections.abc import Iterable

from shieldwall.schedule.actions import Action
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.flow import Parcel, made_by, needed_by


def wire(computes: Iterable[Action], here: str, custody: Custody, *, settled: bool) -> tuple[Action, ...]:
    """The lane of the host `here`.

    A receive, and a wait where one is due, stand directly before the computation that uses their tensor, sends directly
    after the one that made it. No host needs a tensor twice, because a stage and its duplicate are on two hosts.

    Args:
        computes: what the host computes, in order.
        here: its name.
        custody: who runs what.
        settled: whether a tensor must be settled before it is used.
    """
    actions: list[Action] = []
    for compute in computes:
        needed, made = needed_by(compute, custody.stages), made_by(compute, custody.stages)
        if needed:
            actions += _arrival(needed, here, custody, settled=settled)
        actions.append(compute)
        if made:
            actions += [made.send(to) for to in custody.destinations(made)]
    return tuple(actions)


def _arrival(parcel: Parcel, here: str, custody: Custody, *, settled: bool) -> list[Action]:
    """What has to be done on `here` before `parcel` can be used."""
    source, checker = custody.holders[parcel.stage].name, custody.checker_of(parcel)
    actions = [] if source == here else [parcel.receive(source)]
    return [*actions, parcel.wait(checker.name)] if settled and checker else actions
