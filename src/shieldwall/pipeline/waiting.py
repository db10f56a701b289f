"""Who keeps the others waiting while lanes are played: whoever has all that it takes and does not go on.

What is known of a lane is what its host has signed and what the transport has seen pass; what somebody else has signed
says nothing, for it may be a lie. A need is met where that is certain:

    met       its host has gone on since, or the initiator itself has sent it, or it was seen to pass
    unsure    its maker has signed for it, and nobody but the maker and the one who waits knows whether it was sent
    unmet     it was not made, or it was seen not to have passed

Plans have no circles: as long as nothing is unsure, somebody whose needs are all met owes something.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from shieldwall.core.ids import INITIATOR, Place
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Alert, Halt, Header, Inquiry, Refusal, Settlement
from shieldwall.pipeline.lane_needs import LaneNeeds, Point, Thing, needs_of
from shieldwall.schedule import Plan


class Met(Enum):
    """How certain it is that a host has what it needs."""

    YES = 0
    UNSURE = 1
    NO = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """How a pass stands."""

    done: int
    """How much of what is owed is known to be done: it only grows."""
    ready: dict[str, Point]
    """Hosts that have all that it takes for something that they owe, and what that is."""
    unsure: list[tuple[str, Point]]
    """Hosts that may have something that they need, or not."""
    stuck: list[tuple[str, Point]]
    """Those of them that cannot go on without it."""
    reached: dict[str, int]
    """By host, the last action of its lane that is known to be done."""


@dataclass(slots=True)
class Waiting:
    """One attempt at one plan.

    Args:
        plan: that is played.
        said: what was said about a place, rightly signed.
        passed: whether something was seen to pass from one host to another; None where it may go unseen.
    """

    plan: Plan
    said: Callable[[Place], Sequence[Signed[Any]]]
    passed: Callable[[Thing, Place, str, str], bool | None]
    void: set[int] = field(default_factory=set)
    """Micro-batches that are left out."""
    played: set[str] = field(default_factory=set)
    """Whose lane is done."""
    handed: set[tuple[str, Thing, Place]] = field(default_factory=set)
    """What the initiator has handed to whom in the place of its maker."""
    corrected: Collection[tuple[str, Place]] = ()
    """For which places the initiator has given a tensor of its own, and to whom."""

    def stand(self) -> Standing:
        """How things stand now."""
        return _Look(self, needs_of(self.plan)).stand()


class _Look:
    """One look; what was said and seen is asked once for each place."""

    def __init__(self, waiting: Waiting, lanes: dict[str, LaneNeeds]) -> None:
        self._waiting = waiting
        self._lanes = lanes
        self._said: dict[Place, Sequence[Signed[Any]]] = {}
        self._corrected = {place for _, place in waiting.corrected}
        self._unsure: list[tuple[str, Point]] = []
        self._stuck: list[tuple[str, Point]] = []
        self._reached = {host: self._reach(host, lane) for host, lane in lanes.items()}

    def stand(self) -> Standing:
        ready: dict[str, Point] = {}
        for host, lane in self._lanes.items():
            owed = self._owed(host, lane)
            if owed and not (owed.thing is Thing.PLAYED and host in self._waiting.played):
                ready[host] = owed
        done = sum(self._is_done(host, point) for host, point in self._debts()) + len(self._waiting.played)
        return Standing(done, ready, self._unsure, self._stuck, self._reached)

    def _debts(self) -> list[tuple[str, Point]]:
        return [(host, point) for host, lane in self._lanes.items() for point in lane.points if not point.needed]

    def _owed(self, host: str, lane: LaneNeeds) -> Point | None:
        """The first that a host owes and has all that it takes for; notes what it may have."""
        blocked, found = False, None
        for point in lane.points:
            if point.place[2] in self._waiting.void:
                continue
            if point.needed:
                met = self._met(host, point)
                if met is Met.UNSURE:
                    self._unsure.append((host, point))
                    self._stuck += [] if blocked else [(host, point)]
                blocked = blocked or met is not Met.YES
            elif not blocked and found is None and not self._is_done(host, point):
                met = self._header_met(host, point) if point.thing is Thing.SETTLEMENT else Met.YES
                found = point if met is Met.YES else None
                if met is Met.UNSURE:
                    maker = self._waiting.plan.host_of(point.place[1])
                    missing = host, point._replace(thing=Thing.HEADER, peer=maker)
                    self._unsure.append(missing)
                    self._stuck.append(missing)
        return found or (None if blocked else lane.end)

    def _reach(self, host: str, lane: LaneNeeds) -> int:
        """How far a lane is known to be by the signs of its own host, which may sign what it likes: that it is further
        than it is makes only itself look as if it had all that it takes."""
        if host in self._waiting.played:
            return lane.length
        signs = (
            point
            for point in lane.points
            if not point.needed and (point.thing is Thing.TENSOR or (point.thing is Thing.HEADER and not point.peer))
        )
        return max((point.at for point in signs if self._is_done(host, point, seen=True)), default=-1)

    def _is_done(self, host: str, point: Point, *, seen: bool = False) -> bool:
        """Whether a debt is paid; with `seen`, whether it was seen to be paid by its host and nobody else."""
        if not seen and point.place in self._corrected:
            return True
        if not point.peer:
            kinds = (Header, Halt) if point.thing is Thing.HEADER else (Settlement, Alert, Inquiry)
            return self._has(point.place, *kinds)
        passed = self._waiting.passed(point.thing, point.place, host, point.peer)
        if seen:
            return bool(passed)
        instead = (point.peer, point.thing, point.place) in self._waiting.handed
        return passed is not False or instead or self._has(point.place, Halt, Alert, Inquiry)

    def _met(self, host: str, point: Point) -> Met:
        if point.at <= self._reached[host] or self._was_handed(host, point):
            return Met.YES
        if self._refused(host, point.place):
            return Met.NO
        return self._tensor_met(host, point) if point.thing is Thing.TENSOR else self._settlement_met(host, point)

    def _tensor_met(self, host: str, point: Point) -> Met:
        passed = self._waiting.passed(Thing.TENSOR, point.place, point.peer, host)
        if passed is not None:
            return Met.YES if passed else Met.NO
        made = self._has(point.place, Header)
        return (Met.YES if point.peer == INITIATOR else Met.UNSURE) if made else Met.NO

    def _settlement_met(self, host: str, point: Point) -> Met:
        settled = self._has(point.place, Settlement)
        if point.peer == host:
            return Met.YES if settled else Met.NO
        passed = self._waiting.passed(Thing.SETTLEMENT, point.place, point.peer, host)
        if passed is not None:
            return Met.YES if passed else Met.NO
        return Met.NO if not settled else Met.YES if point.peer == INITIATOR else Met.UNSURE

    def _header_met(self, host: str, point: Point) -> Met:
        """Whether a checker has the header of what it is to settle, by itself or with the tensor."""
        if (host, Thing.HEADER, point.place) in self._waiting.handed:
            return Met.YES
        maker = self._waiting.plan.host_of(point.place[1])
        passed = [
            self._waiting.passed(thing, point.place, maker, host)
            for thing in (Thing.HEADER, Thing.TENSOR)
            if thing is Thing.HEADER or not self._refused(host, point.place)
        ]
        if None not in passed:
            return Met.YES if any(passed) else Met.NO
        made = self._has(point.place, Header)
        return Met.NO if not made else Met.YES if maker == INITIATOR else Met.UNSURE

    def _was_handed(self, host: str, point: Point) -> bool:
        corrected = (host, point.place) in self._waiting.corrected
        return corrected or (host, point.thing, point.place) in self._waiting.handed

    def _refused(self, host: str, place: Place) -> bool:
        return any(signed.signer == host for signed in self._words(place) if isinstance(signed.statement, Refusal))

    def _has(self, place: Place, *kinds: type[Any]) -> bool:
        return any(isinstance(signed.statement, kinds) for signed in self._words(place))

    def _words(self, place: Place) -> Sequence[Signed[Any]]:
        if place not in self._said:
            self._said[place] = self._waiting.said(place)
        return self._said[place]
