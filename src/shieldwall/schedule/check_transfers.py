"""Does every tensor that has to travel do so: one send and one receive, between the right hosts, and no others?"""

from __future__ import annotations

from shieldwall.schedule.actions import Action
from shieldwall.schedule.check_work import Spot, spots
from shieldwall.schedule.flow import Parcel, made_by, parcel_of
from shieldwall.schedule.hosts import hosts_by_stage
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.trouble import broken_plan


def check_transfers(plan: Plan) -> None:
    """Refuse sends and receives that are absent, double or between the wrong hosts.

    Every pass must be in the plan already, once and on the host of its stage.

    Raises:
        PlanError: SW-P123.
    """
    right = _right_ends(plan)
    seen: dict[Action, Spot] = {}
    for spot, action in spots(plan):
        if action.kind.is_compute:
            continue
        _check_ends(plan, spot, action, right)
        if action in seen:
            raise broken_plan(
                "SW-P123",
                f"{action} is there twice",
                plan,
                spot,
                expected=f"{action} once",
                got=f"{action} at position {seen[action][1]} and again at {spot[1]}",
            )
        seen[action] = spot
    _check_all_there(plan, right, seen)


def _right_ends(plan: Plan) -> dict[Parcel, tuple[str, str]]:
    """Every tensor that travels between hosts: from whom, to whom."""
    names = {stage: host.name for stage, host in hosts_by_stage(plan.hosts).items()}
    made = (made_by(action, plan.stages) for _, action in spots(plan) if action.kind.is_compute)
    ends = {parcel: (names[parcel.stage], names[parcel.consumer]) for parcel in made if parcel}
    return {parcel: (source, to) for parcel, (source, to) in ends.items() if source != to}


def _check_ends(plan: Plan, spot: Spot, action: Action, right: dict[Parcel, tuple[str, str]]) -> None:
    parcel = parcel_of(action)
    if parcel not in right:
        raise broken_plan(
            "SW-P123",
            f"{action} carries what nobody waits for",
            plan,
            spot,
            expected="only tensors that stages on two different hosts pass to each other",
            got=f"{action} on {spot[0]}",
        )
    ends = (spot[0], action.peer) if action.kind.is_send else (action.peer, spot[0])
    if ends != right[parcel]:
        source, to = right[parcel]
        raise broken_plan(
            "SW-P123",
            f"{action} has a wrong end",
            plan,
            spot,
            expected=f"{parcel} from {source} to {to}",
            got=f"from {ends[0]} to {ends[1]}",
        )


def _check_all_there(plan: Plan, right: dict[Parcel, tuple[str, str]], seen: dict[Action, Spot]) -> None:
    """Each lacking end is marked at the pass that made the tensor or that needs it."""
    at = {action: spot for spot, action in spots(plan)}
    for parcel, (source, to) in right.items():
        ends = ((parcel.send(to), parcel.maker, "after"), (parcel.receive(source), parcel.user, "before"))
        for action, compute, side in ends:
            if action not in seen:
                host = at[compute][0]
                raise broken_plan(
                    "SW-P123",
                    f"{parcel} does not get from {source} to {to}",
                    plan,
                    at[compute],
                    expected=f"{action} in the lane of {host}, {side} {compute}",
                    got=f"no {action}",
                )
