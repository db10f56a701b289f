"""Does it all come to an end: sends never block, a receive blocks its lane until the tensor was sent."""

from __future__ import annotations

from shieldwall.schedule.flow import Parcel, parcel_of
from shieldwall.schedule.plan import Lane, Plan
from shieldwall.schedule.trouble import broken_plan


def check_progress(plan: Plan) -> None:
    """Refuse lanes that wait for each other for ever.

    Raises:
        PlanError: SW-P125; the mark stands at the first lane that waits, the text names all.
    """
    sent: set[Parcel] = set()
    positions = dict.fromkeys((lane.host for lane in plan.lanes), 0)
    moved = True
    while moved:
        moved = False
        for lane in plan.lanes:
            reached = _advance(lane, positions[lane.host], sent)
            moved = moved or reached > positions[lane.host]
            positions[lane.host] = reached
    stuck = [(lane.host, positions[lane.host]) for lane in plan.lanes if positions[lane.host] < len(lane.actions)]
    if stuck:
        raise broken_plan(
            "SW-P125",
            "these lanes wait for each other for ever",
            plan,
            stuck[0],
            expected="lanes that come to their end",
            got="; ".join(f"{host} waits at {plan.lane_of(host).actions[position]}" for host, position in stuck),
        )


def _advance(lane: Lane, position: int, sent: set[Parcel]) -> int:
    """How far the lane comes with what was sent; adds what it sends itself."""
    for action in lane.actions[position:]:
        if action.kind.is_receive and parcel_of(action) not in sent:
            return position
        if action.kind.is_send:
            sent.add(parcel_of(action))
        position += 1
    return position
