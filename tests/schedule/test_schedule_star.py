"""Stars: each tensor is sent once, to the server, and all else is as in a chain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from schedule_oracle import works
from schedule_plans import checked_plans, plans

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import SERVER
from shieldwall.schedule import (
    Action,
    Host,
    Lane,
    Plan,
    StageCosts,
    chain_custody,
    make_plan,
    render_grid,
    render_lanes,
    simulate,
    traffic_of,
    usual_hosts,
    validate_plan,
)


def star(hosts: tuple[Host, ...], costs: StageCosts | None = None, micro_batches: int = 1) -> Plan:
    stages = sum(len(host.stages) for host in hosts)
    return make_plan("gpipe", stages, micro_batches, hosts, costs, when="before_commit", topology="star")


def test_a_worker_sends_each_tensor_once_and_its_users_receive_it_from_its_maker() -> None:
    """worker-2 holds stage 2 and checks stage 1: what worker-1 sends once, both worker-2 and the initiator use."""
    plan = make_plan("gpipe", 4, 1, chain_custody(usual_hosts(4)), when="before_commit", topology="star")
    assert render_lanes(plan) == (
        "initiator    0: F0.0  SA0.0>server  RA2.0<worker-2  F3.0  B3.0  SG3.0>server  RA1.0<worker-1  D2.0  E2.0\n"
        "             9: RG1.0<worker-1  B0.0\n"
        "worker-1     0: RA0.0<initiator  F1.0  SA1.0>server  RG2.0<worker-2  B1.0  SG1.0>server\n"
        "worker-2     0: RA1.0<worker-1  F2.0  SA2.0>server  RG3.0<initiator  B2.0  SG2.0>server  RA0.0<initiator\n"
        "             7: D1.0  E1.0"
    )


@given(checked_plans())
def test_each_tensor_is_sent_once_and_received_by_all_who_use_it(made: tuple[Plan, StageCosts]) -> None:
    """Law: in a star all sends go to the server, each tensor once; where ways take no time, the rest is the chain's."""
    plan, costs = made[0], replace(made[1], transfer_s=0.0)
    shape = (plan.schedule, plan.stages, plan.micro_batches, plan.hosts, costs, plan.training)
    chain, round_it = (make_plan(*shape, when=plan.when, only=plan.only, topology=t) for t in ("chain", "star"))
    sends = [action for lane in round_it.lanes for action in lane.actions if action.kind.is_send]
    assert {action.peer for action in sends} <= {SERVER}
    assert len({(action.kind, action.stage, action.micro_batch) for action in sends}) == len(sends)
    assert _without_sends(round_it) == _without_sends(chain)


def _without_sends(plan: Plan) -> list[list[Action]]:
    return [[action for action in lane.actions if not action.kind.is_send] for lane in plan.lanes]


def test_from_worker_to_worker_a_tensor_takes_two_ways() -> None:
    """One second a way. The server stands beside the initiator: from there and to there it is one."""
    costs = StageCosts((1.0,) * 4, (1.0,) * 4, transfer_s=1.0)
    plan = make_plan("gpipe", 4, 1, usual_hosts(4), costs, topology="star")
    at = {str(done.compute): done.start_s for done in simulate(plan, costs).work}
    assert at == {"F0.0": 0, "F1.0": 2, "F2.0": 5, "F3.0": 7, "B3.0": 8, "B2.0": 10, "B1.0": 13, "B0.0": 15}


def test_a_settlement_takes_the_ways_of_a_tensor() -> None:
    """worker-2 checks stage 1: a_1 and its header are there after two ways, at 5; at 6 the initiator knows of it."""
    costs = StageCosts((1.0,) * 4, (1.0,) * 4, transfer_s=1.0)
    hosts = chain_custody(usual_hosts(4))
    plan = make_plan("gpipe", 4, 1, hosts, costs, training=False, when="before_use", topology="star")
    at = {str(done.compute): done.start_s for done in simulate(plan, costs).work}
    assert at == {"F0.0": 0, "F1.0": 2, "D1.0": 2, "F2.0": 5, "D2.0": 6, "F3.0": 7}


ASH, BIRCH = "F0.0 SA0.0>server RG1.0<birch B0.0", "RA0.0<ash F1.0 B1.0 SG1.0>server"


def two(ash: str = ASH, birch: str = BIRCH) -> Plan:
    lanes = (Lane(name, tuple(map(Action.parse, texts.split()))) for name, texts in (("ash", ash), ("birch", birch)))
    hosts = (Host("ash", (0,)), Host("birch", (1,)))
    return Plan("by hand", 2, 1, True, hosts, tuple(lanes), topology="star")


def test_a_star_by_hand_is_valid() -> None:
    """The clean twin of the broken ones."""
    validate_plan(two())
    assert works(two())


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (two(ash=ASH.replace(">server", ">birch")), "SA0.0>birch has a wrong end(.|\n)*from ash to server"),
        (two(ash=ASH.replace("SA0.0>server ", "")), "does not get from ash to birch(.|\n)*SA0.0>server in the lane of"),
        (two(birch=BIRCH.replace("<ash", "<server")), "RA0.0<server has a wrong end(.|\n)*from ash to birch"),
        (two(ash=ASH + " SA0.0>server"), "SA0.0>server is there twice"),
        (replace(two(), topology="chain"), "SA0.0>server has a wrong end"),
    ],
)
def test_another_way_is_refused(plan: Plan, message: str) -> None:
    with pytest.raises(PlanError, match=f"SW-P123: (.|\n)*{message}"):
        validate_plan(plan)
    assert not works(plan)


@pytest.mark.parametrize("name", ["server", "coordinator"])
def test_no_host_is_called_like_a_part_of_the_initiator(name: str) -> None:
    with pytest.raises(PlanError, match=f"SW-P108: '{name}' cannot be the name"):
        make_plan("gpipe", 2, 1, [Host("initiator", (0,)), Host(name, (1,))])


def test_a_chain_says_nothing_of_its_topology() -> None:
    assert "topology" not in make_plan("gpipe", 2, 1, usual_hosts(2)).to_json()
    data = star(chain_custody(usual_hosts(4))).to_json()
    assert data["topology"] == "star"
    assert Plan.from_json(data).topology == "star"
    with pytest.raises(PlanError, match=r"SW-P111(.|\n)*chain or star"):
        Plan.from_json({**data, "topology": "ring"})


def test_a_star_says_so() -> None:
    assert "\nevery tensor passes the server\n" in render_grid(star(chain_custody(usual_hosts(4))))


def test_the_traffic_of_a_small_step_by_hand() -> None:
    """Four stages, one micro-batch, checked: a_0 to worker-1 and worker-2, a_1 to worker-2 and the initiator, a_2 to
    the initiator; g_3 to worker-2, g_2 to worker-1, g_1 to the initiator. What the initiator checks with it has."""
    hosts = chain_custody(usual_hosts(4))
    chain = make_plan("gpipe", 4, 1, hosts, when="before_commit")
    assert traffic_of(chain) == (3, 3, 2)
    assert traffic_of(star(hosts)) == (4, 5, 0)


@pytest.mark.parametrize("stages", [4, 5, 6, 8])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_the_traffic_of_a_checked_step(stages: int, micro_batches: int) -> None:
    """A worker for each middle stage, as counted in docs/decisions/018-star.md."""
    hosts = chain_custody(usual_hosts(stages))
    chain = make_plan("gpipe", stages, micro_batches, hosts, when="before_commit")
    m, k = micro_batches, stages
    assert traffic_of(chain) == (3 * m, 3 * m, m * (3 * k - 10))
    assert traffic_of(star(hosts, micro_batches=m)) == (2 * m * (k - 2), m * (3 * k - 7), 0)


@given(plans())
def test_what_is_received_travelled(made: tuple[Plan, StageCosts]) -> None:
    """Law: among workers alone, in a chain all goes straight, in a star what is sent goes up and the rest down."""
    plan, _ = made
    received = sum(action.kind.is_receive for lane in plan.lanes for action in lane.actions)
    sent = sum(action.kind.is_send for lane in plan.lanes for action in lane.actions)
    travels = traffic_of(plan)
    assert travels == ((0, 0, received) if plan.topology == "chain" else (sent, received, 0))
