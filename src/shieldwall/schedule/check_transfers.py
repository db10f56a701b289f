"""Does every tensor that has to travel do so: once to each host that needs it, from the right one, and no others?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from shieldwall.schedule.actions import Action
from shieldwall.schedule.check_work import Spot, spots
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.flow import Parcel, made_by, parcel_of
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.trouble import broken_plan
from shieldwall.schedule.wire import addressees


class _Ends(NamedTuple):
    """The ends of a tensor's way: its maker's host, whom that sends it to, and the hosts that need it."""

    source: str
    addressees: tuple[str, ...]
    receivers: tuple[str, ...]


_Right = Mapping[Parcel, _Ends]
"""Every tensor that travels between hosts."""
_Seen = dict[tuple[str, Action], Spot]
"""Where each host sends or receives; two hosts may receive the same tensor."""


def check_transfers(plan: Plan) -> None:
    """Refuse sends and receives that are absent, double or between the wrong hosts.

    Every pass and check must be in the plan already, once and on its host.

    Raises:
        PlanError: SW-P123.
    """
    custody = Custody.of(plan.hosts)
    right = _right_ends(plan, custody)
    seen: _Seen = {}
    for spot, action in spots(plan):
        if not (action.kind.is_send or action.kind.is_receive):
            continue
        _check_ends(plan, spot, action, right)
        before = seen.setdefault((spot[0], action), spot)
        if before != spot:
            raise broken_plan(
                "SW-P123",
                f"{action} is there twice",
                plan,
                spot,
                expected=f"{action} once",
                got=f"{action} at position {before[1]} and again at {spot[1]}",
            )
    _check_all_there(plan, custody, right, seen)


def _right_ends(plan: Plan, custody: Custody) -> _Right:
    made = (made_by(action, plan.stages) for _, action in spots(plan) if action.kind.is_compute)
    return {
        parcel: _Ends(custody.holders[parcel.stage].name, addressees(parcel, custody, plan.topology), receivers)
        for parcel in made
        if parcel and (receivers := custody.destinations(parcel))
    }


def _check_ends(plan: Plan, spot: Spot, action: Action, right: _Right) -> None:
    parcel = parcel_of(action)
    if parcel not in right:
        raise broken_plan(
            "SW-P123",
            f"{action} carries what nobody waits for",
            plan,
            spot,
            expected="only tensors that stages and duplicates on two different hosts pass to each other",
            got=f"{action} on {spot[0]}",
        )
    source, to = (spot[0], action.peer) if action.kind.is_send else (action.peer, spot[0])
    ends = right[parcel]
    right_to = ends.addressees if action.kind.is_send else ends.receivers
    if source != ends.source or to not in right_to:
        raise broken_plan(
            "SW-P123",
            f"{action} has a wrong end",
            plan,
            spot,
            expected=f"{parcel} from {ends.source} to {' or '.join(right_to)}",
            got=f"from {source} to {to}",
        )


def _check_all_there(plan: Plan, custody: Custody, right: _Right, seen: _Seen) -> None:
    """Each lacking end is marked at the pass that made the tensor, or at the pass or check that needs it."""
    at = {action: spot for spot, action in spots(plan) if action.kind.is_compute}
    for parcel, (source, sent_to, receivers) in right.items():
        users = {at[user][0]: user for user in custody.users(parcel)}
        for to in receivers:
            sent = parcel.send(to if to in sent_to else sent_to[0])
            ends = ((source, sent, parcel.maker, "after"), (to, parcel.receive(source), users[to], "before"))
            for host, action, compute, side in ends:
                if (host, action) not in seen:
                    raise broken_plan(
                        "SW-P123",
                        f"{parcel} does not get from {source} to {to}",
                        plan,
                        at[compute],
                        expected=f"{action} in the lane of {host}, {side} {compute}",
                        got=f"no {action}",
                    )
