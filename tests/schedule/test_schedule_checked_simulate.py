"""Predicted times of checked plans: against longest paths, and nothing is used before it is settled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from schedule_oracle import settled_s, start_times, way_s
from schedule_plans import checked_plans

from shieldwall.schedule import Action, Host, Kind, Plan, StageCosts, make_plan, simulate


def times(plan: Plan, costs: StageCosts) -> dict[str, tuple[float, float]]:
    return {str(done.compute): (done.start_s, done.end_s) for done in simulate(plan, costs).work}


def test_one_micro_batch_over_three_hosts_by_hand() -> None:
    """cedar checks stage 1; each way takes half a second, headers and settlements included."""
    hosts = [Host("ash", (0,)), Host("birch", (1,)), Host("cedar", (2,), duplicates=(1,))]
    costs = StageCosts((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), transfer_s=0.5)
    assert times(make_plan("gpipe", 3, 1, hosts, costs, when="before_use"), costs) == {
        "F0.0": (0.0, 1.0),
        "F1.0": (1.5, 2.5),
        "D1.0": (1.5, 2.5),
        "F2.0": (3.0, 4.0),  # a_1 and its header came at 3.0
        "B2.0": (4.0, 6.0),
        "E1.0": (6.0, 8.0),
        "B1.0": (6.5, 8.5),
        "B0.0": (9.5, 11.5),  # the header of g_1 is at cedar at 9.0, its settlement at ash at 9.5
    }
    assert times(make_plan("gpipe", 3, 1, hosts, costs, when="before_commit"), costs)["B0.0"] == (9.0, 11.0)


def test_a_duplicate_runs_at_the_speed_of_its_own_host() -> None:
    hosts = [Host("ash", (0,)), Host("birch", (1,), speed=2.0), Host("cedar", (2,), speed=0.5, duplicates=(1,))]
    costs = StageCosts((1.0, 1.0, 1.0), (3.0, 3.0, 3.0))
    at = times(make_plan("gpipe", 3, 1, hosts, costs, when="before_use"), costs)
    assert [at[text][1] - at[text][0] for text in ("F1.0", "B1.0", "D1.0", "E1.0")] == [0.5, 1.5, 2.0, 6.0]


@given(checked_plans())
def test_times_are_longest_paths(made: tuple[Plan, StageCosts]) -> None:
    """Law: with a processor for each host, everything starts as soon as its lane and its inputs let it."""
    drawn, costs = made
    plan = replace(drawn, hosts=tuple(replace(host, processor=None) for host in drawn.hosts))
    expected = start_times(plan, costs)
    got = {done.compute: done.start_s for done in simulate(plan, costs).work}
    assert got == pytest.approx(expected)


@given(checked_plans())
def test_nothing_is_used_before_it_is_there_and_settled(made: tuple[Plan, StageCosts]) -> None:
    """Law: under before_use no computation starts before its host knows that its input is settled."""
    plan, costs = made
    done = {work.compute: work for work in simulate(plan, costs).work}
    for compute, work in done.items():
        forward = compute.kind in (Kind.FORWARD, Kind.CHECK_FORWARD)
        source = compute.stage + (-1 if forward else 1)
        maker = Action(Kind.FORWARD if forward else Kind.BACKWARD, max(source, 0), compute.micro_batch)
        check = Action(Kind.CHECK_FORWARD if forward else Kind.CHECK_BACKWARD, max(source, 0), compute.micro_batch)
        if not 0 <= source < plan.stages:
            continue
        made_s = done[maker].end_s
        assert work.start_s >= made_s + way_s(plan, costs, done[maker].host, work.host) - 1e-6
        if plan.when == "before_use" and plan.checker_of(source) is not None:
            assert work.start_s >= settled_s(plan, costs, source, work.host, made_s, done[check].end_s) - 1e-6


@given(checked_plans())
def test_every_check_runs_once_in_order_on_the_host_of_the_duplicate(made: tuple[Plan, StageCosts]) -> None:
    """Law: D before E of each micro-batch, E in micro-batch order."""
    plan, costs = made
    work = simulate(plan, costs).work
    for stage in range(plan.stages):
        checks = [done for done in work if done.kind.is_check and done.stage == stage]
        assert {done.host for done in checks} == {plan.checker_of(stage)} - {None}
        for kind in (Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD):
            numbers = [done.micro_batch for done in checks if done.kind is kind]
            due = checks and (plan.training or kind is Kind.CHECK_FORWARD)
            assert numbers == (list(plan.chosen) if due else [])
        for done in checks:
            if done.kind is Kind.CHECK_BACKWARD:
                first = next(d for d in checks if d.kind is Kind.CHECK_FORWARD and d.micro_batch == done.micro_batch)
                assert first.end_s <= done.start_s + 1e-9
