"""What each lane of a plan waits for, and what it owes: read off the plan before anything is played.

RA1.0<worker-1   a need: worker-1's tensor            F2.0   owed: the header of what stage 2 made
WA1.0<worker-2   a need: worker-2's settlement        D1.0   owed: the settlement of what stage 1 made
SA2.0>worker-3   owed: the tensor itself              the end of the lane: owed is `Played`
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from shieldwall.core.ids import Direction, Place
from shieldwall.schedule import Lane, Plan
from shieldwall.schedule.actions import Action


class Thing(Enum):
    """What is needed or owed."""

    TENSOR = "tensor"
    HEADER = "header"
    SETTLEMENT = "settlement"
    PLAYED = "end of the lane"


class Point(NamedTuple):
    """One need or debt of a lane."""

    at: int
    """Which action of the lane."""
    thing: Thing
    place: Place
    peer: str
    """Who is to give what is needed, or to get what is owed; empty for what the coordinator is to get."""
    needed: bool

    def __str__(self) -> str:
        if self.thing is Thing.PLAYED:
            return f"the {self.thing.value}"
        direction, stage, micro_batch = self.place
        return f"the {self.thing.value} of stage {stage}, micro-batch {micro_batch}, {direction.value}"


_NOWHERE: Place = (Direction.FORWARD, 0, 0)


class LaneNeeds(NamedTuple):
    """One lane's points in their order, and how many actions it has."""

    points: tuple[Point, ...]
    length: int

    @property
    def end(self) -> Point:
        """What is owed once everything else is done."""
        return Point(self.length, Thing.PLAYED, _NOWHERE, "", False)


@lru_cache(maxsize=16)
def needs_of(plan: Plan) -> dict[str, LaneNeeds]:
    """By host; the same plan is played with every step."""
    points = {lane.host: _of_lane(lane, plan) for lane in plan.lanes}
    for host, own in list(points.items()):
        for point in list(own):
            _let_owe(points, host, point, plan)
    lengths = {lane.host: len(lane.actions) for lane in plan.lanes}
    return {host: LaneNeeds(tuple(sorted(own, key=_place_in_lane)), lengths[host]) for host, own in points.items()}


def _place_in_lane(point: Point) -> int:
    return point.at


def _let_owe(points: dict[str, list[Point]], host: str, point: Point, plan: Plan) -> None:
    """Statements go to hosts, too: a settlement to who waits for it, a header to the checker who gets no tensor."""
    if point.thing is not Thing.SETTLEMENT or point.peer == host:
        return
    if point.needed:
        owing, thing = point.peer, Thing.SETTLEMENT
    else:
        owing, thing = plan.host_of(point.place[1]), Thing.HEADER
        if any(each.needed and each.thing is Thing.TENSOR and each.place == point.place for each in points[host]):
            return
    for each in points[owing]:
        if (each.thing, each.place, each.peer, each.needed) == (thing, point.place, "", False):
            points[owing].append(each._replace(peer=host))
            return


def _of_lane(lane: Lane, plan: Plan) -> list[Point]:
    points = list[Point]()
    for index, action in enumerate(lane.actions):
        place, kind = _place(action, plan), action.kind
        if kind.is_receive:
            points.append(Point(index, Thing.TENSOR, place, action.peer, True))
        elif kind.is_wait:
            points.append(Point(index, Thing.SETTLEMENT, place, action.peer, True))
        elif kind.is_send:
            points.append(Point(index, Thing.TENSOR, place, action.peer, False))
        elif kind.is_check:
            points.append(Point(index, Thing.SETTLEMENT, place, "", False))
        elif _makes_a_tensor(action, plan):
            points.append(Point(index, Thing.HEADER, place, "", False))
    return points


def _place(action: Action, plan: Plan) -> Place:
    direction = action.kind.direction if plan.training else Direction.EVALUATION
    return direction, action.stage, action.micro_batch


def _makes_a_tensor(action: Action, plan: Plan) -> bool:
    """A forward pass of the last stage makes a loss, a backward pass of the first nothing that travels."""
    backward = action.kind.direction is Direction.BACKWARD
    return action.stage != (0 if backward else plan.stages - 1)
