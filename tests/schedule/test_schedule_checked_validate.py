"""What validate_plan says of checks and waits that are not right; whether it refuses is held against the executor."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_oracle import works
from schedule_plans import checked_plans
from test_schedule_validate import lanes, refused

from shieldwall.core.errors import PlanError
from shieldwall.schedule import Action, Host, Lane, Plan, StageCosts, When, make_plan, validate_plan

ASH = "F0.0 SA0.0>birch SA0.0>cedar RG1.0<birch WG1.0<cedar B0.0"
BIRCH = "RA0.0<ash F1.0 SA1.0>cedar RG2.0<cedar B1.0 SG1.0>ash"
CEDAR = "RA0.0<ash D1.0 RA1.0<birch WA1.0<cedar F2.0 B2.0 SG2.0>birch E1.0"


def three(
    ash: str = ASH,
    birch: str = BIRCH,
    cedar: str = CEDAR,
    when: When = "before_use",
    only: tuple[int, ...] | None = None,
) -> Plan:
    """Three hosts; cedar checks stage 1."""
    hosts = (Host("ash", (0,)), Host("birch", (1,)), Host("cedar", (2,), duplicates=(1,)))
    count = 1 if only is None else 3
    return Plan("by hand", 3, count, True, hosts, lanes(ash=ash, birch=birch, cedar=cedar), when, only)


BROKEN = [
    (three(cedar=CEDAR.replace(" E1.0", "")), "SW-P121: E1.0 is in no lane", "end of lane  <-- HERE", "E1.0 on cedar"),
    (three(cedar=CEDAR + " D1.0"), "SW-P121: D1.0 does not belong", "D1.0  <-- HERE", "position 1 and again at 8"),
    (three(birch=BIRCH + " D1.0"), "SW-P121: D1.0 does not", "D1.0  <-- HERE", "which holds the duplicate of stage 1"),
    (three(cedar=CEDAR + " D2.0"), "SW-P121: D2.0 does not", "D2.0  <-- HERE", "no check of stage 2, which has no"),
    (
        three(cedar=CEDAR + " D1.1"),
        "SW-P121: D1.1 does not",
        "D1.1  <-- HERE",
        "a check of 3 stages and 1 micro",
    ),
    (three(only=(1,)), "SW-P121: F0.0 does not", "0: F0.0  <-- HERE", "3 micro-batches (only 1) in training"),
    (
        three(cedar="RA0.0<ash RA1.0<birch F2.0 B2.0 SG2.0>birch E1.0 D1.0"),
        "SW-P122: E1.0 runs before D1.0",
        "E1.0  <-- HERE",
        "D1.0 first",
    ),
    (
        three(ash=ASH.replace(" SA0.0>cedar", "")),
        "SW-P123: a_0 of micro-batch 0 does not get from ash to cedar",
        "0: F0.0  <-- HERE",
        "SA0.0>cedar in the lane of ash, after F0.0",
    ),
    (
        three(cedar=CEDAR.replace("RA0.0<ash ", "")),
        "SW-P123: a_0 of micro-batch 0 does not get from ash to cedar",
        "0: D1.0  <-- HERE",
        "RA0.0<ash in the lane of cedar, before D1.0",
    ),
    (three(cedar=CEDAR + " RA0.0<ash"), "SW-P123: RA0.0<ash is there twice", "ash  <-- HERE", "RA0.0<ash once"),
    (
        three(ash=ASH.replace("SA0.0>cedar", "SA0.0>ash")),
        "SW-P123: SA0.0>ash has a wrong end",
        "SA0.0>ash  <-- HERE",
        "a_0 of micro-batch 0 from ash to birch or cedar",
    ),
    (
        three(cedar="D1.0 RA0.0<ash RA1.0<birch WA1.0<cedar F2.0 B2.0 SG2.0>birch E1.0"),
        "SW-P124: D1.0 uses what is not there yet",
        "0: D1.0  <-- HERE",
        "a_0 of micro-batch 0 made or received earlier",
    ),
    (
        three(cedar=CEDAR.replace("F2.0", "D1.0").replace("D1.0", "F2.0", 1)),
        "SW-P124: F2.0 uses what is not there yet",
        "F2.0  <-- HERE",
        "a_1 of micro-batch 0",
    ),
    (
        three(cedar="RA0.0<ash RA1.0<birch WA1.0<cedar F2.0 D1.0 B2.0 SG2.0>birch E1.0"),
        "SW-P125: these lanes wait for each other",
        "RG1.0<birch  <-- HERE",
        "ash waits at RG1.0<birch; birch waits at RG2.0<cedar; cedar waits at WA1.0<cedar",
    ),
    (
        three(ash=ASH.replace(" WG1.0<cedar", "")),
        "SW-P126: B0.0 does not wait for a settlement",
        "B0.0  <-- HERE",
        "WG1.0<cedar in the lane of ash, before B0.0",
    ),
    (three(ash=ASH + " WG1.0<cedar"), "SW-P126: WG1.0<cedar is there twice", "cedar  <-- HERE", "position 4 and again"),
    (
        three(ash=ASH.replace(" WG1.0<cedar", "") + " WG1.0<cedar"),
        "SW-P126: WG1.0<cedar comes too late",
        "WG1.0<cedar  <-- HERE",
        "WG1.0<cedar before B0.0 at position 4",
    ),
    (three(ash=ASH + " WA1.0<cedar"), "SW-P126: WA1.0<cedar waits for nothing", "cedar  <-- HERE", "before_use alone"),
    (three(ash=ASH.replace("WG1.0<cedar", "WG1.0<ash")), "SW-P126: WG1.0<ash waits", "<-- HERE", "the checker of its"),
    (three(when="before_commit"), "SW-P126: WG1.0<cedar waits for nothing", "WG1.0<cedar  <-- HERE", "before_commit"),
]


@pytest.mark.parametrize(("plan", "summary", "mark", "detail"), BROKEN, ids=[row[1][:30] for row in BROKEN])
def test_a_refusal_says_what_and_where(plan: Plan, summary: str, mark: str, detail: str) -> None:
    with pytest.raises(PlanError, match=re.escape(summary)) as refusal:
        validate_plan(plan)
    assert mark in str(refusal.value)
    assert detail in str(refusal.value)
    assert not works(plan)


def test_a_valid_checked_plan_by_hand() -> None:
    """The clean twin of the broken ones."""
    validate_plan(three())
    assert works(three())


def test_duplicates_and_micro_batches_are_checked_as_in_a_request() -> None:
    plan = three()
    ash, birch, cedar = plan.hosts
    with pytest.raises(PlanError, match="SW-P114"):
        validate_plan(replace(plan, when=None))
    with pytest.raises(PlanError, match="SW-P115"):
        validate_plan(replace(plan, hosts=(ash, birch, replace(cedar, duplicates=(0,)))))
    with pytest.raises(PlanError, match="SW-P116"):
        validate_plan(replace(plan, hosts=(replace(ash, duplicates=(1,)), birch, cedar)))
    with pytest.raises(PlanError, match="SW-P117"):
        validate_plan(replace(plan, hosts=(ash, replace(birch, duplicates=(1,)), replace(cedar, duplicates=()))))
    with pytest.raises(PlanError, match="SW-P118"):
        validate_plan(replace(plan, only=()))


@given(checked_plans(most=4), st.data())
def test_no_action_can_be_left_out_or_done_twice(made: tuple[Plan, StageCosts], data: st.DataObject) -> None:
    """Law: every action of a made plan is needed, once."""
    plan, _ = made
    full = [number for number, lane in enumerate(plan.lanes) if lane.actions]
    number = data.draw(st.sampled_from(full))
    actions = plan.lanes[number].actions
    at = data.draw(st.integers(0, len(actions) - 1))
    for changed in (actions[:at] + actions[at + 1 :], actions[: at + 1] + actions[at:]):
        assert refused(_with(plan, number, changed)) is not None


@given(checked_plans(most=4), st.data())
def test_no_action_can_move_to_another_host(made: tuple[Plan, StageCosts], data: st.DataObject) -> None:
    """Law: every action of a made plan belongs to the host that it is on."""
    plan, _ = made
    full = [number for number, lane in enumerate(plan.lanes) if lane.actions]
    number = data.draw(st.sampled_from(full))
    others = [other for other in range(len(plan.lanes)) if other != number]
    if not others:
        return
    other = data.draw(st.sampled_from(others))
    taken, given_to = plan.lanes[number].actions, plan.lanes[other].actions
    at, to = data.draw(st.integers(0, len(taken) - 1)), data.draw(st.integers(0, len(given_to)))
    moved = _with(_with(plan, number, taken[:at] + taken[at + 1 :]), other, (*given_to[:to], taken[at], *given_to[to:]))
    assert refused(moved) is not None


def _with(plan: Plan, number: int, actions: tuple[Action, ...]) -> Plan:
    lane = Lane(plan.lanes[number].host, actions)
    return replace(plan, lanes=(*plan.lanes[:number], lane, *plan.lanes[number + 1 :]))


def test_a_made_plan_is_not_one_of_another_time() -> None:
    """Waits belong to before_use: neither plan passes for the other."""
    hosts = three().hosts
    pairs: tuple[tuple[When, When], ...] = (("before_use", "before_commit"), ("before_commit", "before_use"))
    for when, other in pairs:
        plan = make_plan("1f1b", 3, 2, hosts, when=when)
        assert refused(plan) is None
        refusal = refused(replace(plan, when=other))
        assert refusal is not None
        assert refusal.code == "SW-P126"
