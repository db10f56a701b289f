"""Is everything there before it is used: what a pass or check works on, and what a send sends?"""

from __future__ import annotations

from shieldwall.schedule.actions import Action
from shieldwall.schedule.flow import Parcel, needed_by, parcel_of
from shieldwall.schedule.plan import Lane, Plan
from shieldwall.schedule.trouble import broken_plan


def check_inputs(plan: Plan) -> None:
    """Refuse lanes that use a tensor before it was computed in this lane or received.

    Raises:
        PlanError: SW-P124.
    """
    for lane in plan.lanes:
        _check_lane(plan, lane)


def _check_lane(plan: Plan, lane: Lane) -> None:
    there: set[Parcel] = set()
    for position, action in enumerate(lane.actions):
        used = _used(action, plan.stages)
        if used is not None and used not in there:
            raise broken_plan(
                "SW-P124",
                f"{action} uses what is not there yet",
                plan,
                (lane.host, position),
                expected=f"{used} made or received earlier in the lane of {lane.host}",
                got=f"{action} before it",
            )
        if action.kind.is_receive or (action.kind.is_compute and not action.kind.is_check):
            there.add(parcel_of(action))


def _used(action: Action, stages: int) -> Parcel | None:
    if action.kind.is_receive or action.kind.is_wait:
        return None
    return parcel_of(action) if action.kind.is_send else needed_by(action, stages)
