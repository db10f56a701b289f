"""Made plans with checks: what they cost, where they stand, which micro-batches run, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_plans import WHENS, checked_plans, costs_of, own_hosts, plans

from shieldwall.core.errors import PlanError
from shieldwall.schedule import (
    Action,
    Host,
    Lane,
    Plan,
    StageCosts,
    When,
    chain_custody,
    equal_slots,
    make_plan,
    peak_in_flight,
    peak_in_flight_of_duplicates,
    simulate,
    usual_hosts,
    validate_plan,
)
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.wire import wire

SLOTS = StageCosts((1.0,) * 6, (2.0,) * 6)
"""Six equal stages, F = 1 and B = 2."""


def slots(schedule: str, hosts: Sequence[Host], when: When | None, micro_batches: int = 4) -> float:
    return simulate(make_plan(schedule, 6, micro_batches, hosts, SLOTS, when=when), SLOTS).step_s


@pytest.mark.parametrize(
    ("schedule", "when", "expected"),
    [
        ("gpipe", "before_commit", 31),
        ("1f1b", "before_commit", 28),
        ("gpipe", "before_use", 36),
        ("1f1b", "before_use", 36),
    ],
)
def test_slots_of_a_checked_step_on_six_hosts(schedule: str, when: When, expected: int) -> None:
    """Settled before the commit, checking costs at most 1.16 times a gpipe step and 1.10 times a 1f1b step.

    31 cannot be beaten under gpipe: the host of stage 2 waits until slot 15 for its first gradient and has 16 slots of
    backward work, checks included. 28 cannot either: the last host gets its first work in slot 4 and has 24 slots.
    """
    hosts = own_hosts(6)
    assert slots(schedule, hosts, None) == 27
    assert slots(schedule, chain_custody(hosts), when) == expected


@pytest.mark.parametrize(
    ("schedule", "when", "expected"),
    [
        ("gpipe", "before_commit", 36),
        ("1f1b", "before_commit", 36),
        ("gpipe", "before_use", 39),
        ("1f1b", "before_use", 39),
    ],
)
def test_slots_of_a_checked_step_where_the_initiator_is_one_host(schedule: str, when: When, expected: int) -> None:
    """It has stages 0 and 5 and checks stage 4: 36 slots of work, in which nothing of it is lost before the commit."""
    hosts = usual_hosts(6)
    assert slots(schedule, hosts, None) == 27
    assert slots(schedule, chain_custody(hosts), when) == expected


@pytest.mark.parametrize("micro_batches", [1, 4, 8, 16])
def test_forward_slots_of_before_use(micro_batches: int) -> None:
    """Each middle host runs every micro-batch twice: 2M + K - 2 slots in place of M + K - 1."""
    hosts = chain_custody(own_hosts(6))
    plan = make_plan("gpipe", 6, micro_batches, hosts, SLOTS, training=False, when="before_use")
    assert simulate(plan, SLOTS).step_s == 2 * micro_batches + 6 - 2


@given(checked_plans())
def test_every_made_plan_with_checks_is_valid(made: tuple[Plan, StageCosts]) -> None:
    """Law: make_plan makes nothing that validate_plan refuses, whatever the hosts, costs, checks and micro-batches."""
    validate_plan(made[0])


@settings(max_examples=30)
@given(checked_plans())
def test_making_with_checks_is_repeatable(made: tuple[Plan, StageCosts]) -> None:
    plan, costs = made
    shape = (plan.schedule, plan.stages, plan.micro_batches, plan.hosts, costs, plan.training)
    assert make_plan(*shape, when=plan.when, only=plan.only, topology=plan.topology) == plan


@given(plans(), st.sampled_from(WHENS))
def test_without_duplicates_nothing_changes(made: tuple[Plan, StageCosts], when: When) -> None:
    """Law: where nobody checks, the lanes are the same whenever checks are settled."""
    plan, costs = made
    shape = (plan.schedule, plan.stages, plan.micro_batches, plan.hosts, costs, plan.training)
    again = make_plan(*shape, when=when, topology=plan.topology)
    assert again == replace(plan, when=when)


@given(checked_plans())
def test_checks_leave_the_order_of_each_stage(made: tuple[Plan, StageCosts]) -> None:
    """Law: every stage runs its passes in the schedule's order, so its memory is that of the unchecked plan."""
    plan, costs = made
    bare = tuple(replace(host, duplicates=()) for host in plan.hosts if host.stages)
    shape = (plan.schedule, plan.stages, plan.micro_batches, bare, costs, plan.training)
    unchecked = make_plan(*shape, only=plan.only, topology=plan.topology)
    for stage in range(plan.stages):
        assert _passes(plan, stage) == _passes(unchecked, stage)
    assert peak_in_flight(plan) == peak_in_flight(unchecked)


def _passes(plan: Plan, stage: int) -> list[Action]:
    lane = plan.lane_of(plan.host_of(stage))
    return [a for a in lane.actions if a.kind.is_compute and not a.kind.is_check and a.stage == stage]


@settings(max_examples=50)
@given(checked_plans())
def test_some_micro_batches_are_a_step_of_their_own(made: tuple[Plan, StageCosts]) -> None:
    """Law: a plan for n chosen micro-batches is that of a step of n, with their real numbers."""
    plan, costs = made
    chosen = plan.chosen
    hosts, training = plan.hosts, plan.training
    shape = (plan.schedule, plan.stages, len(chosen), hosts, costs, training)
    small = make_plan(*shape, when=plan.when, topology=plan.topology)
    renamed = tuple(
        Lane(lane.host, tuple(replace(a, micro_batch=chosen[a.micro_batch]) for a in lane.actions))
        for lane in small.lanes
    )
    assert plan.lanes == renamed


def test_all_micro_batches_chosen_is_the_whole_step() -> None:
    assert make_plan("1f1b", 3, 2, usual_hosts(3), only=[0, 1]) == make_plan("1f1b", 3, 2, usual_hosts(3))


def _naive(plan: Plan, costs: StageCosts) -> Plan:
    """The unchecked plan, and every check at the end of the lane of its host."""
    bare = tuple(replace(host, duplicates=()) for host in plan.hosts if host.stages)
    shape = (plan.schedule, plan.stages, plan.micro_batches, bare, costs, plan.training)
    unchecked = make_plan(*shape, only=plan.only, topology=plan.topology)
    lanes = []
    for host in plan.hosts:
        passes = [a for lane in unchecked.lanes if lane.host == host.name for a in lane.actions if a.kind.is_compute]
        kinds = "DE" if plan.training else "D"
        checks = [Action.parse(f"{kind}{i}.{m}") for kind in kinds for i in host.duplicates for m in plan.chosen]
        computes = [*passes, *checks]
        lanes.append(
            Lane(host.name, wire(computes, host.name, Custody.of(plan.hosts), settled=False, topology=plan.topology))
        )
    return replace(plan, lanes=tuple(lanes))


@given(checked_plans())
def test_no_plan_is_slower_than_all_checks_at_the_end(made: tuple[Plan, StageCosts]) -> None:
    """Law: filling idle time never costs any."""
    plan, costs = made
    shape = (plan.schedule, plan.stages, plan.micro_batches, plan.hosts, costs, plan.training)
    plan = make_plan(*shape, when="before_commit", only=plan.only, topology=plan.topology)
    assert simulate(plan, costs).step_s <= simulate(_naive(plan, costs), costs).step_s * (1 + 1e-6)


@settings(max_examples=40)
@given(st.sampled_from(["gpipe", "1f1b"]), st.integers(3, 6), st.integers(1, 6), st.data())
def test_on_one_processor_checks_keep_little(
    schedule: str, stages: int, micro_batches: int, data: st.DataObject
) -> None:
    """Law: where all order takes the same time, each duplicate keeps one micro-batch at once."""
    hosts = [replace(host, processor="laptop") for host in chain_custody(usual_hosts(stages))]
    costs = data.draw(costs_of(stages).map(lambda drawn: replace(drawn, transfer_s=0.0)))
    plan = make_plan(schedule, stages, micro_batches, hosts, costs, when="before_commit")
    assert peak_in_flight_of_duplicates(plan) == dict.fromkeys(range(1, stages - 1), 1)
    middle = [*costs.forward_s[1:-1], *costs.backward_s[1:-1]]
    work_s = micro_batches * (sum(costs.forward_s) + sum(costs.backward_s) + sum(middle))
    assert simulate(plan, costs).step_s == pytest.approx(work_s)


def test_on_one_processor_a_micro_batch_is_checked_before_the_next_goes_backward() -> None:
    hosts = [replace(host, processor="laptop") for host in chain_custody(usual_hosts(4))]
    plan = make_plan("gpipe", 4, 2, hosts, when="before_commit")
    order = [str(done.compute) for done in simulate(plan, equal_slots(4)).work]
    assert " ".join(order[8:]) == ("B3.0 B2.0 D2.0 E2.0 B1.0 D1.0 E1.0 B0.0 B3.1 B2.1 D2.1 E2.1 B1.1 D1.1 E1.1 B0.1")


def test_a_duplicate_keeps_what_it_has_not_run_backward() -> None:
    plan = make_plan("gpipe", 6, 4, chain_custody(own_hosts(6)), SLOTS, when="before_use")
    assert peak_in_flight_of_duplicates(plan) == dict.fromkeys(range(1, 5), 4)
    evaluation = make_plan("gpipe", 6, 4, chain_custody(own_hosts(6)), SLOTS, training=False, when="before_use")
    assert peak_in_flight_of_duplicates(evaluation) == dict.fromkeys(range(1, 5), 0)
    assert peak_in_flight_of_duplicates(make_plan("gpipe", 6, 4, own_hosts(6))) == {}


def test_a_tensor_is_sent_once_to_each_host_that_needs_it() -> None:
    """a_1 goes to the hosts of stage 2 and of its duplicate, a_0 to those of stage 1 and of its duplicate."""
    plan = make_plan("gpipe", 4, 1, chain_custody(usual_hosts(4)), when="before_use")
    assert [" ".join(map(str, lane.actions)) for lane in plan.lanes] == [
        "F0.0 SA0.0>worker-1 SA0.0>worker-2 RA1.0<worker-1 WA1.0<worker-2 D2.0 RA2.0<worker-2 WA2.0<initiator F3.0 "
        "B3.0 SG3.0>worker-2 E2.0 RG1.0<worker-1 WG1.0<worker-2 B0.0",
        "RA0.0<initiator F1.0 SA1.0>worker-2 SA1.0>initiator RG2.0<worker-2 WG2.0<initiator B1.0 SG1.0>initiator",
        "RA0.0<initiator D1.0 RA1.0<worker-1 WA1.0<worker-2 F2.0 SA2.0>initiator RG3.0<initiator B2.0 SG2.0>worker-1 "
        "WG2.0<initiator E1.0",
    ]


def test_evaluation_is_checked_forward_alone() -> None:
    plan = make_plan("gpipe", 4, 2, chain_custody(usual_hosts(4)), training=False, when="before_use")
    kinds = {action.kind.value for lane in plan.lanes for action in lane.actions}
    assert kinds == {"F", "D", "SA", "RA", "WA"}


def test_chain_custody_puts_each_duplicate_on_the_next_host() -> None:
    assert [host.duplicates for host in chain_custody(usual_hosts(6))] == [(4,), (), (1,), (2,), (3,)]
    pairs = [Host("ash", (0, 5)), Host("birch", (1, 2)), Host("cedar", (3, 4))]
    assert [host.duplicates for host in chain_custody(pairs)] == [(3, 4), (), (1, 2)]
    assert chain_custody([Host("ash", (0, 1, 2))]) == (Host("ash", (0, 1, 2)),)
    assert chain_custody(usual_hosts(2)) == usual_hosts(2)


A, B, C = Host("ash", (0,)), Host("birch", (1,)), Host("cedar", (2,))


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([A, B, replace(C, duplicates=(0,))], "SW-P115: stage 0 cannot have a duplicate(.|\n)*middle stages, 1 to 1"),
        ([A, B, replace(C, duplicates=(3,))], "SW-P115: stage 3 cannot have a duplicate"),
        ([replace(A, duplicates=(2,)), B, C], "SW-P115: stage 2 cannot have a duplicate"),
        ([replace(A, duplicates=(1,)), B, replace(C, duplicates=(1,))], "SW-P116(.|\n)*stage 1 on ash, cedar"),
        ([A, B, replace(C, duplicates=(1, 1))], "SW-P116: stage 1 has more than one duplicate"),
        ([A, replace(B, duplicates=(1,)), C], "SW-P117: host birch would check its own work"),
    ],
)
def test_duplicates_that_check_nothing_are_refused(hosts: list[Host], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan("gpipe", 3, 1, hosts, when="before_commit")


@pytest.mark.parametrize("when", [None, "later"])
def test_somebody_has_to_say_when_checks_are_settled(when: Any) -> None:
    with pytest.raises(PlanError, match=r"SW-P114(.|\n)*expected  one of before_use, before_commit"):
        make_plan("gpipe", 3, 1, [A, B, replace(C, duplicates=(1,))], when=when)


@pytest.mark.parametrize("only", [[], [2], [-1], [1, 0], [0, 0]])
def test_micro_batches_that_are_not_there_are_refused(only: list[int]) -> None:
    with pytest.raises(PlanError, match=r"SW-P118(.|\n)*at least one of 0 to 1, ascending"):
        make_plan("gpipe", 3, 2, [A, B, C], only=only)
