"""Predicted times: small cases by hand, bounds that no plan can beat, and the formulas of the papers."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from schedule_oracle import way_s
from schedule_plans import own_hosts, plans

from shieldwall.core.errors import PlanError
from shieldwall.schedule import (
    Host,
    Kind,
    Plan,
    StageCosts,
    TimedAction,
    Timeline,
    bubble,
    equal_slots,
    make_plan,
    peak_in_flight,
    simulate,
    usual_hosts,
    waiting_share,
)

SIZES = st.integers(1, 10)
SCHEDULES = st.sampled_from(["gpipe", "1f1b"])
F, B = Kind.FORWARD, Kind.BACKWARD


def test_one_micro_batch_over_two_hosts_by_hand() -> None:
    """birch is twice as fast; each tensor is half a second on its way."""
    hosts = [Host("ash", (0,)), Host("birch", (1,), speed=2.0)]
    costs = StageCosts((1.0, 2.0), (3.0, 4.0), transfer_s=0.5)
    timeline = simulate(make_plan("gpipe", 2, 1, hosts, costs), costs)
    assert timeline.work == (
        TimedAction("ash", 0, 0, F, 0.0, 1.0),
        TimedAction("birch", 1, 0, F, 1.5, 2.5),
        TimedAction("birch", 1, 0, B, 2.5, 4.5),
        TimedAction("ash", 0, 0, B, 5.0, 8.0),
    )
    assert timeline.step_s == 8.0
    assert timeline.idle_share_by_host == {"ash": 0.5, "birch": 1 - 3 / 8}
    assert timeline.idle_share == (0.5 + 1 - 3 / 8) / 2


def test_a_shared_processor_does_one_thing_at_a_time() -> None:
    hosts = [Host("ash", (0,), processor="laptop"), Host("birch", (1,), processor="laptop")]
    timeline = simulate(make_plan("gpipe", 2, 2, hosts), equal_slots(2))
    assert [(done.kind, done.stage, done.micro_batch) for done in timeline.work] == [
        (F, 0, 0), (F, 1, 0), (F, 0, 1), (F, 1, 1), (B, 1, 0), (B, 0, 0), (B, 1, 1), (B, 0, 1),
    ]  # fmt: skip
    assert timeline.step_s == 8.0
    assert timeline.idle_share == 0.5


def test_stages_of_one_host_pay_no_transfer() -> None:
    costs = StageCosts((1.0, 1.0), (1.0, 1.0), transfer_s=100.0)
    assert simulate(make_plan("gpipe", 2, 1, usual_hosts(2), costs), costs).step_s == 4.0


def test_a_step_that_takes_no_time_is_not_idle() -> None:
    costs = StageCosts((0.0,), (0.0,))
    assert simulate(make_plan("gpipe", 1, 1, usual_hosts(1), costs), costs).idle_share == 0.0


def test_simulate_refuses_costs_and_plans_that_do_not_fit() -> None:
    plan = make_plan("gpipe", 2, 1, own_hosts(2))
    with pytest.raises(PlanError, match=r"SW-P109(.|\n)*times for 2 stages"):
        simulate(plan, equal_slots(3))
    with pytest.raises(PlanError, match="SW-P120"):
        simulate(Plan("gpipe", 2, 1, True, plan.hosts, ()), equal_slots(2))


def _seconds(plan: Plan, costs: StageCosts, kind: Kind, stage: int) -> float:
    speed = next(host.speed for host in plan.hosts if stage in host.stages)
    return (costs.forward_s if kind is F else costs.backward_s)[stage] / speed


@given(plans())
def test_no_step_beats_the_critical_path_or_the_busiest_processor(made: tuple[Plan, StageCosts]) -> None:
    """Law: one micro-batch has to pass all stages, and a processor has to do all its work."""
    plan, costs = made
    kinds = (F, B) if plan.training else (F,)
    crossings = sum(plan.host_of(i) != plan.host_of(i + 1) for i in range(plan.stages - 1))
    path_s = crossings * costs.transfer_s * len(kinds)
    path_s += sum(_seconds(plan, costs, kind, stage) for kind in kinds for stage in range(plan.stages))
    busy_s: dict[str, float] = defaultdict(float)
    for host in plan.hosts:
        for stage in host.stages:
            own = sum(_seconds(plan, costs, kind, stage) for kind in kinds)
            busy_s[host.processor or host.name] += plan.micro_batches * own
    assert simulate(plan, costs).step_s >= max(path_s, *busy_s.values()) - 1e-6


@given(plans())
def test_passes_wait_for_their_inputs_and_their_processor(made: tuple[Plan, StageCosts]) -> None:
    """Law: nothing starts before what it needs is there, and no processor does two things at once."""
    plan, costs = made
    timeline = simulate(plan, costs)
    times = {(done.kind, done.stage, done.micro_batch): done for done in timeline.work}
    assert len(times) == plan.stages * plan.micro_batches * (2 if plan.training else 1)
    for done in timeline.work:
        before = times.get((done.kind, done.stage + (-1 if done.kind is F else 1), done.micro_batch))
        if before:
            assert done.start_s >= before.end_s + way_s(plan, costs, before.host, done.host) - 1e-6
    processor = {host.name: host.processor or host.name for host in plan.hosts}
    for one, other in pairwise(timeline.work):
        assert one.start_s <= other.start_s
    for name in set(processor.values()):
        mine = [done for done in timeline.work if processor[done.host] == name]
        assert all(one.end_s <= other.start_s for one, other in pairwise(mine))


@given(plans())
def test_a_plan_is_simulated_in_the_order_of_its_lanes(made: tuple[Plan, StageCosts]) -> None:
    """Law: also with other costs than those that the plan was made with."""
    plan, _ = made
    timeline = simulate(plan, equal_slots(plan.stages))
    for lane in plan.lanes:
        planned = [(a.kind, a.stage, a.micro_batch) for a in lane.actions if a.kind.is_compute]
        assert [(d.kind, d.stage, d.micro_batch) for d in timeline.work if d.host == lane.host] == planned


@given(plans())
def test_idle_shares_are_shares(made: tuple[Plan, StageCosts]) -> None:
    """Law: 1 - busy / (lanes x step), in [0, 1]."""
    plan, costs = made
    timeline = simulate(plan, costs)
    assume(timeline.step_s > 0)
    busy_s = sum(done.end_s - done.start_s for done in timeline.work)
    assert timeline.idle_share == pytest.approx(1 - busy_s / (len(plan.lanes) * timeline.step_s), abs=1e-9)
    assert all(0 <= share <= 1 for share in timeline.idle_share_by_host.values())


@given(plans())
def test_a_shared_processor_waits_only_when_all_its_hosts_do(made: tuple[Plan, StageCosts]) -> None:
    """Law: the waiting share is the idle share, with the hosts of one processor counted as one."""
    plan, costs = made
    timeline = simulate(plan, costs)
    assume(timeline.step_s)
    processor_of = {host.name: (host.processor is None, host.processor or host.name) for host in plan.hosts}
    busy_s: dict[tuple[bool, str], float] = dict.fromkeys(processor_of.values(), 0.0)
    for done in timeline.work:
        busy_s[processor_of[done.host]] += done.end_s - done.start_s
    expected = sum(1 - seconds / timeline.step_s for seconds in busy_s.values()) / len(busy_s)
    assert waiting_share(plan.hosts, timeline) == pytest.approx(expected, abs=1e-9)


def test_a_timeline_without_work_waits_for_nothing() -> None:
    assert waiting_share(own_hosts(2), Timeline(("host-0", "host-1"), ())) == 0.0


def test_an_empty_timeline() -> None:
    assert (Timeline((), ()).step_s, Timeline((), ()).idle_share) == (0.0, 0.0)


@given(SCHEDULES, SIZES, SIZES)
def test_bubble_is_that_of_the_papers(schedule: str, stages: int, micro_batches: int) -> None:
    """Law: (K - 1) / (M + K - 1)."""
    assert bubble(schedule, stages, micro_batches) == pytest.approx((stages - 1) / (micro_batches + stages - 1))


def test_bubble_of_the_default_pipeline() -> None:
    assert round(bubble("gpipe", 6, 4), 4) == 0.5556
    with pytest.raises(PlanError, match="SW-P102"):
        bubble("gpipe", 0, 4)


@given(SIZES, SIZES, st.booleans())
def test_peak_in_flight(stages: int, micro_batches: int, merged: bool) -> None:
    """Law: gpipe keeps M micro-batches everywhere, 1f1b at most K - i at stage i, whoever holds the stages."""
    hosts = usual_hosts(stages) if merged else own_hosts(stages)
    gpipe, one = (make_plan(name, stages, micro_batches, hosts) for name in ("gpipe", "1f1b"))
    assert peak_in_flight(gpipe) == dict.fromkeys(range(stages), micro_batches)
    assert peak_in_flight(one) == {i: min(micro_batches, stages - i) for i in range(stages)}


def test_evaluation_keeps_nothing() -> None:
    assert peak_in_flight(make_plan("gpipe", 2, 3, own_hosts(2), training=False)) == {0: 0, 1: 0}
