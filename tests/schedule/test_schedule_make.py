"""Made plans: the grids that papers draw, the merged lanes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_plans import own_hosts, plans

from shieldwall.core.errors import PlanError
from shieldwall.schedule import (
    SCHEDULES,
    Action,
    Host,
    Kind,
    Plan,
    StageCosts,
    equal_slots,
    make_plan,
    render_grid,
    usual_hosts,
    validate_plan,
)

GPIPE = """
    slot             0  1  2  3  4  5  6  7  8  9  10 11 12 13
    stage 0  host-0  F0 F1 F2 F3 .  .  .  .  .  .  B0 B1 B2 B3
    stage 1  host-1  .  F0 F1 F2 F3 .  .  .  .  B0 B1 B2 B3 .
    stage 2  host-2  .  .  F0 F1 F2 F3 .  .  B0 B1 B2 B3 .  .
    stage 3  host-3  .  .  .  F0 F1 F2 F3 B0 B1 B2 B3 .  .  .
    """

ONE_F_ONE_B = """
    slot             0  1  2  3  4  5  6  7  8  9  10 11 12 13
    stage 0  host-0  F0 F1 F2 F3 .  .  .  B0 .  B1 .  B2 .  B3
    stage 1  host-1  .  F0 F1 F2 .  .  B0 F3 B1 .  B2 .  B3 .
    stage 2  host-2  .  .  F0 F1 .  B0 F2 B1 F3 B2 .  B3 .  .
    stage 3  host-3  .  .  .  F0 B0 F1 B1 F2 B2 F3 B3 .  .  .
    """

MERGED = """
    slot                0  1  2  3  4  5  6  7  8  9  10 11 12 13 14 15
    stage 0  initiator  F0 F1 F2 F3 .  .  .  .  .  .  .  .  B0 B1 B2 B3
    stage 1  worker-1   .  F0 F1 F2 F3 .  .  .  .  .  B0 B1 B2 B3 .  .
    stage 2  worker-2   .  .  F0 F1 F2 F3 .  .  .  B0 B1 B2 B3 .  .  .
    stage 3  initiator  .  .  .  .  F0 F1 F2 F3 B0 B1 B2 B3 .  .  .  .
    """


def grid(plan: Plan) -> str:
    return render_grid(plan).split("\n\n")[1]


def drawn(text: str) -> str:
    return dedent(text).strip()


def test_gpipe_grid() -> None:
    assert grid(make_plan("gpipe", 4, 4, own_hosts(4))) == drawn(GPIPE)


def test_1f1b_grid() -> None:
    assert grid(make_plan("1f1b", 4, 4, own_hosts(4))) == drawn(ONE_F_ONE_B)


def test_the_initiator_merges_its_two_stages() -> None:
    """Where both of its stages could work, the one that others wait for leads: F0.3 before F3.0, B3.3 before B0.0."""
    plan = make_plan("gpipe", 4, 4, usual_hosts(4))
    assert grid(plan) == drawn(MERGED)
    assert " ".join(str(action) for action in plan.lane_of("initiator").actions if action.kind.is_compute) == (
        "F0.0 F0.1 F0.2 F0.3 F3.0 F3.1 F3.2 F3.3 B3.0 B3.1 B3.2 B3.3 B0.0 B0.1 B0.2 B0.3"
    )


def test_receives_stand_directly_before_and_sends_directly_after_their_pass() -> None:
    plan = make_plan("gpipe", 3, 1, usual_hosts(3))
    assert [" ".join(map(str, lane.actions)) for lane in plan.lanes] == [
        "F0.0 SA0.0>worker-1 RA1.0<worker-1 F2.0 B2.0 SG2.0>worker-1 RG1.0<worker-1 B0.0",
        "RA0.0<initiator F1.0 SA1.0>initiator RG2.0<initiator B1.0 SG1.0>initiator",
    ]


def test_neighbours_on_one_host_send_nothing() -> None:
    plan = make_plan("1f1b", 2, 2, usual_hosts(2))
    assert " ".join(map(str, plan.lanes[0].actions)) == "F0.0 F0.1 F1.0 B1.0 B0.0 F1.1 B1.1 B0.1"
    assert len(plan.lanes) == 1


def test_one_processor_drains_micro_batch_by_micro_batch() -> None:
    """All hosts on one processor: micro-batch 0 is backward at stage 0 before micro-batch 1 starts backward."""
    hosts = [replace(host, processor="laptop") for host in own_hosts(3)]
    assert grid(make_plan("gpipe", 3, 2, hosts)) == drawn(
        """
        slot             0  1  2  3  4  5  6  7  8  9  10 11
        stage 0  host-0  F0 .  .  F1 .  .  .  .  B0 .  .  B1
        stage 1  host-1  .  F0 .  .  F1 .  .  B0 .  .  B1 .
        stage 2  host-2  .  .  F0 .  .  F1 B0 .  .  B1 .  .
        """
    )


def test_costs_decide_how_stages_are_merged() -> None:
    """With a slow worker between, the initiator feeds everything in before anything comes back."""
    slow = StageCosts((1.0, 9.0, 1.0), (1.0, 9.0, 1.0))
    lane = make_plan("gpipe", 3, 2, usual_hosts(3), slow).lane_of("initiator")
    assert [str(action) for action in lane.actions if action.kind is Kind.FORWARD] == ["F0.0", "F0.1", "F2.0", "F2.1"]


def test_evaluation_only_runs_forward() -> None:
    plan = make_plan("1f1b", 3, 2, usual_hosts(3), training=False)
    kinds = {action.kind for lane in plan.lanes for action in lane.actions}
    assert kinds == {Kind.FORWARD, Kind.SEND_ACTIVATION, Kind.RECEIVE_ACTIVATION}
    assert not plan.training


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 9), st.integers(1, 9))
def test_every_stage_has_each_pass_once_and_backward_in_order(schedule: str, stages: int, micro_batches: int) -> None:
    """Law: the order of each stage is complete, forward comes before backward, gradients are summed in order."""
    for stage in range(stages):
        order = SCHEDULES[schedule](stage, stages, micro_batches)
        for kind in (Kind.FORWARD, Kind.BACKWARD):
            assert [a.micro_batch for a in order if a.kind is kind] == list(range(micro_batches))
        for m in range(micro_batches):
            assert order.index(Action(Kind.FORWARD, stage, m)) < order.index(Action(Kind.BACKWARD, stage, m))


@given(plans())
def test_every_made_plan_is_valid(made: tuple[Plan, StageCosts]) -> None:
    """Law: make_plan makes nothing that validate_plan refuses, whatever the hosts and costs."""
    validate_plan(made[0])


@given(plans())
def test_making_is_repeatable(made: tuple[Plan, StageCosts]) -> None:
    """Law: the same request gives the same plan."""
    plan, costs = made
    shape = (plan.schedule, plan.stages, plan.micro_batches, plan.hosts, costs, plan.training)
    again = make_plan(*shape, topology=plan.topology)
    assert again == plan


A, B = Host("ash", (0,)), Host("birch", (1,))


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([A], "SW-P104: stage 1 is on no host"),
        ([A, B, Host("cedar", (1,))], "SW-P104: stage 1 is held more than once(.|\n)*stage 1 on birch, cedar"),
        ([A, Host("birch", (1, 1))], "SW-P104: stage 1 is held more than once"),
        ([A, B, Host("cedar", ())], "SW-P105: host cedar holds no stage"),
        ([A, Host("birch", (1, 2))], "SW-P106: host birch holds a stage that does not exist"),
        ([A, Host("birch", (-1,))], "SW-P106(.|\n)*stage -1 on birch"),
        ([A, replace(B, speed=0.0)], "SW-P107: host birch has no usable speed"),
        ([A, replace(B, speed=float("nan"))], "SW-P107"),
        ([A, replace(B, name="ash")], "SW-P108: 'ash' cannot be the name"),
        ([A, replace(B, name="")], "SW-P108: '' cannot be the name"),
    ],
)
def test_hosts_that_cannot_hold_the_stages_are_refused(hosts: list[Host], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan("gpipe", 2, 1, hosts)


def test_requests_that_make_no_sense_are_refused() -> None:
    with pytest.raises(PlanError, match="SW-P101: there is no schedule 'zigzag'\n  expected  one of gpipe, 1f1b"):
        make_plan("zigzag", 2, 1, [A, B])
    with pytest.raises(PlanError, match="SW-P102: a pipeline needs at least one stage"):
        make_plan("gpipe", 0, 1, [])
    with pytest.raises(PlanError, match="SW-P103: a step needs at least one micro-batch"):
        make_plan("gpipe", 2, 0, [A, B])
    with pytest.raises(PlanError, match=r"SW-P109(.|\n)*times for 2 stages\n  got       times for 3"):
        make_plan("gpipe", 2, 1, [A, B], equal_slots(3))


def _lazy(stage: int, stages: int, micro_batches: int) -> tuple[Action, ...]:  # noqa: ARG001
    return (Action(Kind.FORWARD, stage, 0),)


def _circular(stage: int, stages: int, micro_batches: int) -> tuple[Action, ...]:  # noqa: ARG001
    """The first stage wants its gradient before it gives anything."""
    passes = (Action(Kind.FORWARD, stage, 0), Action(Kind.BACKWARD, stage, 0))
    return passes if stage else passes[::-1]


@pytest.fixture
def broken_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    added = {"lazy": f"{__name__}:_lazy", "circular": f"{__name__}:_circular"}
    monkeypatch.setattr(SCHEDULES, "_built_in", {**SCHEDULES._built_in, **added})


@pytest.mark.usefixtures("broken_schedules")
def test_schedules_of_others_that_cannot_be_played_are_refused() -> None:
    with pytest.raises(PlanError, match=r"SW-P113: the schedule 'lazy' cannot be played(.|\n)*got       F0.0"):
        make_plan("lazy", 2, 1, [A, B])
    with pytest.raises(PlanError, match=r"SW-P113(.|\n)*stages 0, 1 wait for each other"):
        make_plan("circular", 2, 1, [A, B])
