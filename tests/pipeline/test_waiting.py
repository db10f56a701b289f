"""Who keeps the others waiting: found from what was signed and seen, never from what somebody says of others."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from shieldwall.core.ids import INITIATOR, SERVER, Direction, Place, Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header, Refusal, Settlement
from shieldwall.pipeline.lane_needs import Point, Thing, needs_of
from shieldwall.pipeline.waiting import Waiting
from shieldwall.recovery.views import with_duplicates
from shieldwall.schedule import Plan, make_plan, usual_hosts
from shieldwall.schedule.actions import Action

SLOT = Slot(run="test", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=0)
HEADER = Header(
    slot=SLOT,
    source="",
    destinations=(),
    shape=(),
    dtype="",
    arithmetic="",
    root_in="",
    root_out="",
    state_root="",
)
PLANS = {
    (when, topology): make_plan("gpipe", 5, 3, with_duplicates(usual_hosts(5)), when=when, topology=topology)
    for when in ("before_use", "before_commit")
    for topology in ("chain", "star")
}


class Pass:
    """Plays a plan as far as it goes where one host keeps one thing back.

    Args:
        plan: to be played.
        bad: who keeps something back.
        kept: what it owes and does not give.
        seen: whether the transport sees what passes.
    """

    def __init__(self, plan: Plan, bad: str, kept: Point, *, seen: bool) -> None:
        self.plan, self.bad, self.kept, self.seen = plan, bad, kept, seen
        self.at = {lane.host: 0 for lane in plan.lanes}
        self.signed: dict[Place, list[Signed[Any]]] = {}
        self.passed: set[tuple[Thing, Place, str, str]] = set()
        self.checked: list[tuple[str, int, Place]] = []
        """Checks that were made and are not settled yet."""
        while sum(self._go_on(lane.host, lane.actions) for lane in plan.lanes):  # all of them, each time
            pass

    def waiting(self) -> Waiting:
        found = Waiting(self.plan, lambda place: self.signed.get(place, ()), self._seen)
        ended = [lane.host for lane in self.plan.lanes if self.at[lane.host] == len(lane.actions)]
        found.played.update(host for host in ended if not self._keeps(host, needs_of(self.plan)[host].end))
        return found

    def _seen(self, thing: Thing, place: Place, source: str, destination: str) -> bool | None:
        return (thing, place, source, destination) in self.passed if self.seen else None

    def _keeps(self, host: str, point: Point) -> bool:
        return host == self.bad and point == self.kept

    def _go_on(self, host: str, actions: tuple[Action, ...]) -> bool:
        went = self._settle()
        while self.at[host] < len(actions) and self._do(host, actions[self.at[host]]):
            self.at[host] += 1
            went = True
        return went

    def _do(self, host: str, action: Action) -> bool:
        place: Place = (action.kind.direction, action.stage, action.micro_batch)
        if action.kind.is_receive:
            return (Thing.TENSOR, place, action.peer, host) in self.passed
        if action.kind.is_wait:
            own = action.peer == host and any(isinstance(each.statement, Settlement) for each in self._words(place))
            return own or (Thing.SETTLEMENT, place, action.peer, host) in self.passed
        if action.kind.is_check:
            self.checked.append((host, self.at[host], place))
        else:
            self._pay(host, self.at[host], replace(HEADER, slot=self._slot(place), source=host))
        return True

    def _settle(self) -> bool:
        """Settle what was checked and whose header has come."""
        due = []
        for host, at, place in self.checked:
            maker = self.plan.host_of(place[1])
            if maker == host or {(thing, place, maker, host) for thing in (Thing.HEADER, Thing.TENSOR)} & self.passed:
                due.append((host, at, place))
        for host, at, place in due:
            self.checked.remove((host, at, place))
            self._pay(host, at, Settlement(slot=self._slot(place), root_in="", root_out=""))
        return bool(due)

    def _pay(self, host: str, at: int, statement: Any) -> None:
        """Everything that is owed at an action, but what is kept back."""
        for point in needs_of(self.plan)[host].points:
            if point.needed or point.at != at or self._keeps(host, point):
                continue
            if point.peer:
                self.passed.update((point.thing, point.place, host, to) for to in self._receivers(point))
            else:
                self.signed.setdefault(point.place, []).append(Signed(statement, host, b""))

    def _receivers(self, point: Point) -> list[str]:
        """Whom a tensor or a statement reaches; in a star the server passes tensors on."""
        if point.peer != SERVER:
            return [point.peer]
        wanted = ((lane, each) for lane, needs in needs_of(self.plan).items() for each in needs.points if each.needed)
        return [lane for lane, each in wanted if (each.thing, each.place) == (Thing.TENSOR, point.place)] + [SERVER]

    def _words(self, place: Place) -> list[Signed[Any]]:
        return self.signed.get(place, [])

    def _slot(self, place: Place) -> Slot:
        return replace(SLOT, direction=place[0], stage=place[1], micro_batch=place[2])


def drawn(seed: int) -> tuple[Plan, str, Point]:
    """A plan, a worker, and something that it owes."""
    random = Random(seed)
    plan = PLANS[random.choice(list(PLANS))]
    host = random.choice([lane.host for lane in plan.lanes if lane.host != INITIATOR])
    lane = needs_of(plan)[host]
    return plan, host, random.choice([*(point for point in lane.points if not point.needed), lane.end])


@pytest.mark.parametrize("seed", range(80))
def test_where_all_that_passes_is_seen_the_one_who_keeps_something_back_is_found_at_once(seed: int) -> None:
    plan, bad, kept = drawn(seed)
    standing = Pass(plan, bad, kept, seen=True).waiting().stand()
    assert standing.unsure == []
    assert set(standing.ready) == {bad}
    assert standing.ready[bad] == kept


@pytest.mark.parametrize("seed", range(80))
def test_where_it_is_not_seen_nobody_is_taken_for_another_and_handing_it_on_helps(seed: int) -> None:
    plan, bad, kept = drawn(seed)
    waiting = Pass(plan, bad, kept, seen=False).waiting()
    assert set(waiting.stand().ready) <= {bad}
    while unsure := waiting.stand().unsure:
        waiting.handed.update((host, point.thing, point.place) for host, point in unsure)
    handed = {(thing, place) for _, thing, place in waiting.handed}
    assert bad in waiting.stand().ready or (kept.thing, kept.place) in handed


def test_who_signs_for_what_it_has_not_made_yet_makes_nobody_else_look_late() -> None:
    """Story: a header of the last slot was taken as a sign that its neighbours had sent all that it takes."""
    plan = PLANS["before_commit", "chain"]
    first = next(point for point in needs_of(plan)["worker-2"].points if point.thing is Thing.HEADER)
    going = Pass(plan, "worker-2", first, seen=True)
    assert set(going.waiting().stand().ready) == {"worker-2"}
    stopped = Pass(plan, "worker-1", needs_of(plan)["worker-1"].points[2], seen=True)
    before = stopped.waiting().stand()
    early = Signed(going.signed[Direction.BACKWARD, 2, 2][0].statement, "worker-2", b"")
    stopped.signed.setdefault((Direction.BACKWARD, 2, 2), []).append(early)
    after = stopped.waiting().stand()
    assert set(after.ready) - set(before.ready) <= {"worker-2"}
    assert after.reached["worker-2"] > before.reached["worker-2"]


def test_who_has_refused_a_tensor_waits_for_the_referee() -> None:
    plan = PLANS["before_commit", "chain"]
    first = next(point for point in needs_of(plan)["worker-2"].points if not point.needed)
    stopped = Pass(plan, "worker-2", first, seen=True)
    assert set(stopped.waiting().stand().ready) == {"worker-2"}
    refused = Refusal(slot=replace(SLOT, stage=1), sender="worker-1", reason="")
    stopped.signed[Direction.FORWARD, 1, 0].append(Signed(refused, "worker-2", b""))
    assert stopped.waiting().stand().ready == {}
