"""Does it all come to an end: sends never block, receives and waits block their lane until others have done theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

from shieldwall.core.ids import SERVER
from shieldwall.schedule.actions import Action
from shieldwall.schedule.flow import Parcel, parcel_of
from shieldwall.schedule.plan import Lane, Plan
from shieldwall.schedule.trouble import broken_plan


@dataclass(slots=True)
class _Done:
    """What all lanes have done so far: tensors sent, each to a host or the server, and computations."""

    sent: set[tuple[Parcel, str]] = field(default_factory=set)
    computed: set[Action] = field(default_factory=set)

    def blocks(self, action: Action, here: str) -> bool:
        """Whether the lane of `here` has to stop before `action`."""
        parcel = parcel_of(action)
        if action.kind.is_wait:
            return not {parcel.maker, parcel.check} <= self.computed
        return action.kind.is_receive and self.sent.isdisjoint({(parcel, here), (parcel, SERVER)})

    def add(self, action: Action) -> None:
        """`action` is done."""
        if action.kind.is_send:
            self.sent.add((parcel_of(action), action.peer))
        elif action.kind.is_compute:
            self.computed.add(action)


def check_progress(plan: Plan) -> None:
    """Refuse lanes that wait for each other for ever.

    Raises:
        PlanError: SW-P125; the mark stands at the first lane that waits, the text names all.
    """
    done = _Done()
    positions = dict.fromkeys((lane.host for lane in plan.lanes), 0)
    moved = True
    while moved:
        moved = False
        for lane in plan.lanes:
            reached = _advance(lane, positions[lane.host], done)
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


def _advance(lane: Lane, position: int, done: _Done) -> int:
    """How far the lane comes with what is done; adds what it does itself."""
    for action in lane.actions[position:]:
        if done.blocks(action, lane.host):
            return position
        done.add(action)
        position += 1
    return position
