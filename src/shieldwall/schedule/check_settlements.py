"""Under `before_use`: does every host wait until a tensor is settled, once, before it computes on it?"""

from __future__ import annotations

from shieldwall.schedule.actions import Action
from shieldwall.schedule.check_work import Spot, spots
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.flow import needed_by
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.trouble import broken_plan

_Owed = dict[tuple[str, Action], tuple[Spot, Action]]
"""For each host and wait that it owes: where it computes on the tensor, and what."""


def check_settlements(plan: Plan) -> None:
    """Refuse waits that are absent, double, too late, for nothing or for the wrong checker.

    Every pass and check must be in the plan already, once and on its host.

    Raises:
        PlanError: SW-P126.
    """
    owed = _owed(plan) if plan.when == "before_use" else {}
    seen: dict[tuple[str, Action], Spot] = {}
    for spot, action in spots(plan):
        if action.kind.is_wait:
            _check_wait(plan, spot, action, owed, seen)
            seen[spot[0], action] = spot
    for (host, wait), (spot, compute) in owed.items():
        if (host, wait) not in seen:
            raise broken_plan(
                "SW-P126",
                f"{compute} does not wait for a settlement",
                plan,
                spot,
                expected=f"{wait} in the lane of {host}, before {compute}",
                got=f"no {wait}",
            )


def _owed(plan: Plan) -> _Owed:
    custody = Custody.of(plan.hosts)
    owed: _Owed = {}
    for spot, action in spots(plan):
        parcel = needed_by(action, plan.stages) if action.kind.is_compute else None
        checker = custody.checker_of(parcel) if parcel else None
        if parcel and checker:
            owed[spot[0], parcel.wait(checker.name)] = (spot, action)
    return owed


def _check_wait(plan: Plan, spot: Spot, wait: Action, owed: _Owed, seen: dict[tuple[str, Action], Spot]) -> None:
    host, position = spot
    if (host, wait) not in owed:
        raise broken_plan(
            "SW-P126",
            f"{wait} waits for nothing",
            plan,
            spot,
            expected=f"waits under before_use alone, for what {host} computes on, for the checker of its stage",
            got=f"{wait} on {host}, {plan.when or 'nothing checked'}",
        )
    if (host, wait) in seen:
        raise broken_plan(
            "SW-P126",
            f"{wait} is there twice",
            plan,
            spot,
            expected=f"{wait} once",
            got=f"{wait} at position {seen[host, wait][1]} and again at {position}",
        )
    used, compute = owed[host, wait]
    if used[1] < position:
        raise broken_plan(
            "SW-P126",
            f"{wait} comes too late",
            plan,
            spot,
            expected=f"{wait} before {compute} at position {used[1]}",
            got=f"{wait} at position {position}",
        )
