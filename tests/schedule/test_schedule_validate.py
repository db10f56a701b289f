"""validate_plan agrees with an executor that really plays the plan, and says where the trouble is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from schedule_oracle import works
from schedule_plans import checked_plans, mutated, own_hosts, plans

from shieldwall.core.errors import PlanError
from shieldwall.schedule import Action, Host, Lane, Plan, StageCosts, make_plan, usual_hosts, validate_plan


@given(plans())
def test_the_oracle_plays_every_made_plan(made: tuple[Plan, StageCosts]) -> None:
    """The clean twin of the next law: an oracle that refuses everything would agree with too much."""
    assert works(made[0])


@given(checked_plans())
def test_the_oracle_plays_every_made_plan_with_checks(made: tuple[Plan, StageCosts]) -> None:
    assert works(made[0])


@settings(max_examples=600)
@given(mutated())
def test_validation_agrees_with_the_oracle(plan: Plan) -> None:
    """Law: a plan is refused if and only if playing it goes wrong; the refusal shows the spot."""
    refusal = refused(plan)
    assert (refusal is None) == works(plan)
    event(refusal.code if refusal else "still fine")
    if refusal:
        assert refusal.code in {"SW-P121", "SW-P122", "SW-P123", "SW-P124", "SW-P125", "SW-P126"}
        assert re.match(r"host [a-z0-9-]+, position \d+ of its lane\n", refusal.where)
        assert str(refusal).count("<-- HERE") == 1


def refused(plan: Plan) -> PlanError | None:
    try:
        validate_plan(plan)
    except PlanError as error:
        return error
    return None


def lanes(**texts: str) -> tuple[Lane, ...]:
    return tuple(Lane(host, tuple(Action.parse(text) for text in row.split())) for host, row in texts.items())


def two(ash: str, birch: str, training: bool = True, micro_batches: int = 1) -> Plan:
    hosts = (Host("ash", (0,)), Host("birch", (1,)))
    return Plan("by hand", 2, micro_batches, training, hosts, lanes(ash=ash, birch=birch))


ASH, BIRCH = "F0.0 SA0.0>birch RG1.0<birch B0.0", "RA0.0<ash F1.0 B1.0 SG1.0>ash"

BROKEN = [
    (
        two("F0.0 F0.0", BIRCH),
        "SW-P121: F0.0 does not belong here",
        "F0.0  F0.0  <-- HERE",
        "position 0 and again at 1",
    ),
    (two("F1.0", BIRCH), "SW-P121: F1.0 does not", "F1.0  <-- HERE", "F1.0 on birch, which holds stage 1"),
    (
        two("F0.7", BIRCH),
        "SW-P121: F0.7 does not",
        "F0.7  <-- HERE",
        "a pass of 2 stages and 1 micro-batches in training",
    ),
    (two("F2.0", BIRCH), "SW-P121: F2.0 does not", "F2.0  <-- HERE", "a pass of 2 stages"),
    (two("F0.0 B0.0", "F1.0", training=False), "SW-P121: B0.0 does not", "B0.0  <-- HERE", "in evaluation"),
    (two("F0.0", BIRCH), "SW-P121: B0.0 is in no lane", "F0.0  end of lane  <-- HERE", "B0.0 on ash"),
    (two("B0.0 F0.0", BIRCH), "SW-P122: B0.0 runs before F0.0", "0: B0.0  <-- HERE", "F0.0 first"),
    (
        two("F0.0 F0.1 B0.1 B0.0", "F1.0 F1.1 B1.0 B1.1", micro_batches=2),
        "SW-P122: stage 0 runs backward out of micro-batch order",
        "B0.1  <-- HERE",
        "B0.0, because gradients are summed in this order",
    ),
    (two(ASH + " SG0.0>birch", BIRCH), "SW-P123: SG0.0>birch carries what nobody", "SG0.0>birch  <-- HERE", "two diff"),
    (
        two(ASH.replace(">birch", ">cedar"), BIRCH),
        "SW-P123: SA0.0>cedar has a wrong end",
        "cedar  <-- HERE",
        "to birch",
    ),
    (two("F0.0 RA0.0<birch B0.0", BIRCH), "SW-P123: RA0.0<birch has a wrong end", "birch  <-- HERE", "birch to ash"),
    (two(ASH + " SA0.0>birch", BIRCH), "SW-P123: SA0.0>birch is there twice", "birch  <-- HERE", "SA0.0>birch once"),
    (
        two("F0.0 RG1.0<birch B0.0", BIRCH),
        "SW-P123: a_0 of micro-batch 0 does not get from ash to birch",
        "F0.0  <-- HERE",
        "SA0.0>birch in the lane of ash, after F0.0",
    ),
    (
        two("F0.0 SA0.0>birch B0.0", BIRCH),
        "SW-P123: g_1 of micro-batch 0 does not",
        "B0.0  <-- HERE",
        "RG1.0<birch in the lane of ash, before B0.0",
    ),
    (
        two("SA0.0>birch F0.0 RG1.0<birch B0.0", BIRCH),
        "SW-P124: SA0.0>birch uses what is not there yet",
        "0: SA0.0>birch  <-- HERE",
        "a_0 of micro-batch 0 made or received earlier in the lane of ash",
    ),
    (two(ASH, "F1.0 RA0.0<ash B1.0 SG1.0>ash"), "SW-P124: F1.0 uses", "F1.0  <-- HERE", "earlier in the lane of birch"),
    (
        two("F0.0 RG1.0<birch SA0.0>birch B0.0", BIRCH),
        "SW-P125: these lanes wait for each other for ever",
        "RG1.0<birch  <-- HERE",
        "ash waits at RG1.0<birch; birch waits at RA0.0<ash",
    ),
]


@pytest.mark.parametrize(("plan", "summary", "mark", "detail"), BROKEN, ids=[row[1][:24] for row in BROKEN])
def test_a_refusal_says_what_and_where(plan: Plan, summary: str, mark: str, detail: str) -> None:
    with pytest.raises(PlanError, match=re.escape(summary)) as refusal:
        validate_plan(plan)
    text = str(refusal.value)
    assert mark in text
    assert detail in text
    for lane in plan.lanes:  # the whole plan is shown
        for action in lane.actions:
            assert str(action) in text
    assert not works(plan)


def test_a_valid_plan_by_hand() -> None:
    """The clean twin of the broken ones."""
    validate_plan(two(ASH, BIRCH))
    assert works(two(ASH, BIRCH))


def test_a_host_can_receive_early_and_send_late() -> None:
    """Only the result counts: any order of sends and receives that comes to its end is fine."""
    validate_plan(
        two(
            "F0.0 F0.1 SA0.1>birch SA0.0>birch",
            "RA0.1<ash RA0.0<ash F1.1 F1.0",
            training=False,
            micro_batches=2,
        )
    )


def test_the_whole_refusal() -> None:
    with pytest.raises(PlanError) as refusal:
        validate_plan(two("F0.0 SA0.0>birch B0.0", BIRCH))
    assert str(refusal.value) == (
        "PlanError SW-P123: g_1 of micro-batch 0 does not get from birch to ash\n"
        "  where     host ash, position 2 of its lane\n"
        "            ash      0: F0.0  SA0.0>birch  B0.0  <-- HERE\n"
        "            birch    0: RA0.0<ash  F1.0  B1.0  SG1.0>ash\n"
        "  expected  RG1.0<birch in the lane of ash, before B0.0\n"
        "  got       no RG1.0<birch\n"
        "  do next   mend the lane at the mark, or make the plan anew with make_plan\n"
        "  page      docs/errors/SW-P123.md"
    )


@pytest.mark.parametrize("names", [["ash"], ["ash", "birch", "birch"], ["ash", "birch", "cedar"], []])
def test_lanes_must_be_those_of_the_hosts(names: list[str]) -> None:
    plan = two(ASH, BIRCH)
    with pytest.raises(PlanError, match=r"SW-P120: the lanes are not those of the hosts(.|\n)*<-- HERE"):
        validate_plan(replace(plan, lanes=tuple(Lane(name, ()) for name in names)))


def test_shape_and_hosts_are_checked_as_in_a_request() -> None:
    plan = make_plan("gpipe", 3, 2, own_hosts(3))
    with pytest.raises(PlanError, match="SW-P102"):
        validate_plan(replace(plan, stages=0))
    with pytest.raises(PlanError, match="SW-P104: stage 3 is on no host"):
        validate_plan(replace(plan, stages=4))
    with pytest.raises(PlanError, match="SW-P104: stage 0 is held more than once"):
        validate_plan(replace(plan, hosts=(*plan.hosts, Host("cedar", (0,)))))


def test_a_large_plan_is_listed_in_lines_that_fit() -> None:
    plan = make_plan("1f1b", 6, 16, usual_hosts(6))
    cut = replace(plan, lanes=(*plan.lanes[:-1], Lane(plan.lanes[-1].host, plan.lanes[-1].actions[:-1])))
    with pytest.raises(PlanError, match=r"SW-P123: g_4 of micro-batch 15") as refusal:
        validate_plan(cut)
    assert max(map(len, str(refusal.value).splitlines())) <= 120
