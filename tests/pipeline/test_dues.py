"""When an answer is due: by a clock that runs while the initiator waits, and by what others take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from shieldwall.core.ids import COORDINATOR, INITIATOR, Role, Slot
from shieldwall.core.messages import (
    Assign,
    Commit,
    Discard,
    Discarded,
    PassTime,
    Prepare,
    SendChunk,
    SendState,
    StageState,
    StateReport,
)
from shieldwall.core.signing import Signed
from shieldwall.pipeline.answers import asked_of
from shieldwall.pipeline.deadlines import Deadlines, Terms
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.disputes import OFTEN, Disputes
from shieldwall.pipeline.dues import Dues
from shieldwall.schedule import Host, StageCosts, make_plan
from shieldwall.transport import MemoryNetwork

TERMS = Terms(least_s=10.0, first_s=60.0, times=10.0, bytes_s=1000.0, look_s=0.25)
COSTS = StageCosts(forward_s=(0.5,) * 4, backward_s=(1.0,) * 4)
PLAN = make_plan("gpipe", 4, 2, (Host(INITIATOR, (0, 3)), Host("ash", (1,)), Host("birch", (2,))), COSTS)
STATE = StageState(parameters={"weight": torch.zeros(250)})
"""1,000 bytes, so with its moments at most 3,000."""


@dataclass
class Wire:
    """A transport that counts."""

    moved: int = 0
    held_up: bool = False

    def begin(self) -> None:
        """Nothing passes here."""

    def passed(
        self, slot: Slot, source: str, destination: str, statements: Iterable[Signed[Any]] | None = None
    ) -> bool | None:
        del slot, source, destination, statements
        return None

    def moved_bytes(self, host: str) -> int | None:
        del host
        return self.moved

    def is_held_up(self, host: str) -> bool:
        del host
        return self.held_up


def deadlines(wire: Wire | None = None, **paces: float) -> Deadlines:
    """As after a step in which hosts took so many times what they should."""
    found = Deadlines(costs=COSTS, witness=wire, terms=TERMS)
    found.note_work(
        PLAN,
        {
            lane.host: [
                PassTime(str(action), 0.0, COSTS.seconds(action) * paces[lane.host])
                for action in lane.actions
                if action.kind.is_compute
            ]
            for lane in PLAN.lanes
            if lane.host in paces
        },
    )
    return found


def wait(dues: Dues, seconds: float) -> None:
    """In looks, as a desk does."""
    for _ in range(round(seconds / TERMS.look_s)):
        dues.waited(TERMS.look_s)


def ask(dues: Dues, host: str, order: object) -> None:
    answer = asked_of(host, order)  # type: ignore[arg-type]
    assert answer
    dues.ask(answer, order)  # type: ignore[arg-type]


def test_a_deadline_comes_from_the_plan_and_the_pace_of_others() -> None:
    slow = deadlines(initiator=3.0, ash=1.0, birch=1000.0)
    assert slow.answer_s("birch") == 10.0  # the lower of 3 and 1 times the longest pass, which is 1 s
    assert slow.answer_s("ash") == 30.0
    assert slow.answer_s(INITIATOR) == 10.0
    assert deadlines().answer_s("ash") == 60.0  # nobody has shown how long it takes


def test_ones_own_slowness_earns_no_time() -> None:
    once, again = deadlines(initiator=1.0, ash=1.0, birch=1.0), deadlines(initiator=1.0, ash=1.0, birch=1e9)
    assert again.answer_s("birch") == once.answer_s("birch")


def test_what_others_took_for_the_same_counts_and_the_first_is_given_more_time() -> None:
    dues = Dues(found := deadlines(initiator=1.0, ash=1.0, birch=1.0))
    assert found.answer_s("birch", "Prepared", carries=False) == 60.0
    prepare = Prepare(step=0, learning_rate=0.1, clip_coefficients={})
    for host in ("ash", "birch"):
        ask(dues, host, prepare)
    wait(dues, 4.0)
    dues.settle(asked_of("ash", prepare) or ())
    assert found.answer_s("birch", "Prepared", carries=False) == 40.0
    assert found.answer_s("ash", "Prepared", carries=False) == 60.0
    wait(dues, 55.0)
    assert not dues.missed()
    wait(dues, 1.0)
    assert {host: late.what for host, late in dues.missed().items()} == {"birch": "Prepared"}


def test_an_initiator_that_stood_still_blames_nobody() -> None:
    dues = Dues(deadlines(initiator=1.0, ash=1.0, birch=1.0))
    ask(dues, "ash", SendState(stage=1))
    dues.waited(3600.0)
    assert not dues.missed()
    assert dues.clock_s == 2 * TERMS.look_s


def test_the_initiators_own_host_is_waited_for_without_end() -> None:
    dues = Dues(deadlines(initiator=1.0, ash=1.0, birch=1.0))
    ask(dues, INITIATOR, Commit(step=0))
    wait(dues, 1000.0)
    assert not dues.missed()


def test_bytes_that_move_are_waited_for_and_those_that_do_not_are_not() -> None:
    """A state over a thin line takes longer than any deadline without bytes."""
    thin, stopped, crawling = Wire(), Wire(), Wire()
    found = {}
    for name, wire, rate in (("thin", thin, 1000), ("stopped", stopped, 0), ("crawling", crawling, 500)):
        dues = found[name] = Dues(deadlines(wire, initiator=1.0, ash=1.0, birch=1.0))
        state = StageState(parameters={"weight": torch.zeros(5000)})
        ask(dues, "ash", Assign(stage=1, stages=4, first_layer=0, last_layer=1, state=state))
        dues.drop("ash")
        ask(dues, "ash", SendState(stage=1))  # 60,000 bytes at most, so 60 s and 10 s besides
        for _ in range(round(25 / TERMS.look_s)):
            wire.moved += round(rate * TERMS.look_s)
            dues.waited(TERMS.look_s)
    assert not found["thin"].missed()
    assert found["stopped"].missed()
    assert found["crawling"].missed()
    for _ in range(round(46 / TERMS.look_s)):
        thin.moved += 10_000  # it sends and sends, and the state is not there
        found["thin"].waited(TERMS.look_s)
    assert found["thin"].missed()


def test_answers_are_due_one_after_the_other() -> None:
    dues = Dues(deadlines(initiator=1.0, ash=1.0, birch=1.0))
    for stage in (1, 2):
        ask(dues, "ash", Assign(stage=stage, stages=4, first_layer=0, last_layer=1, state=STATE))
    wait(dues, 11.25)  # 10 s and a second for 1,000 bytes
    dues.settle(asked_of("ash", Assign(stage=1, stages=4, first_layer=0, last_layer=1, state=STATE)) or ())
    assert not dues.missed()
    wait(dues, 11.0)
    assert dues.missed()


def test_a_chunk_is_due_by_its_size_and_not_once_it_is_given_up() -> None:
    """Its holder was lost, or another one had it sooner."""
    dues = Dues(deadlines(initiator=1.0, ash=1.0, birch=1.0))
    chunk = SendChunk(stage=1, role=Role.STAGE, name="weight", offset=0, size_bytes=5000)
    for host in ("ash", "birch"):
        ask(dues, host, chunk)
    wait(dues, 14.75)
    assert not dues.missed()
    dues.give_up(asked_of("birch", chunk) or ())
    wait(dues, 0.5)
    assert set(dues.missed()) == {"ash"}


def test_who_is_held_up_by_others_is_excused_for_a_while() -> None:
    wire = Wire(held_up=True)
    dues = Dues(deadlines(wire, initiator=1.0, ash=1.0, birch=1.0))
    ask(dues, "ash", SendState(stage=1, role=Role.STAGE))
    wait(dues, TERMS.held_up_s)
    assert not dues.missed()
    wait(dues, 61.0)  # nobody has shown how long it takes
    assert dues.missed()


def test_a_desk_loses_who_is_overdue_and_hears_the_others() -> None:
    terms = Terms(least_s=0.2, first_s=0.2, times=0.0, look_s=0.02)

    async def play() -> None:
        network = MemoryNetwork()
        ash, birch = network.join("ash"), network.join("birch")
        desk = Desk(network.join(COORDINATOR), lambda _: None, deadlines=Deadlines(costs=COSTS, terms=terms))
        await desk.send_all(["ash", "birch"], Discard(step=3))
        await ash.send(COORDINATOR, Discarded(host="ash", step=3))
        await desk.take(Discarded)
        with pytest.raises(HostsLost, match="birch"):
            await desk.take(Discarded)
        assert (desk.overdue, desk.gone["birch"] >= 0.2) == ({"birch": "Discarded"}, True)
        await birch.send(COORDINATOR, Discarded(host="birch", step=3))  # too late
        await desk.send("ash", SendState(stage=1))
        await ash.send(COORDINATOR, StateReport(host="ash", stage=1, state=STATE))
        await desk.take(StateReport)
        assert desk.dropped.counts == {("birch", "Discarded"): 1}
        with pytest.raises(HostsLost, match="birch"):
            await desk.send("birch", Discard(step=3))

    asyncio.run(asyncio.wait_for(play(), 30))


def test_in_a_dispute_nobody_is_believed_until_it_happens_again() -> None:
    disputes = Disputes()
    assert [disputes.add("ash", "birch") for _ in range(OFTEN)] == [""] * (OFTEN - 1) + ["ash"]
    assert disputes.add("cedar", "birch") == "birch"  # it is always the one who says that nothing came
    own = Disputes()
    assert [own.add(host, INITIATOR) for host in ("ash", "birch", "ash", "ash")] == ["", "", "", "ash"]
