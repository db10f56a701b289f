"""Actions, plans and costs as data."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_plans import checked_plans, plans

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import Direction
from shieldwall.schedule import Action, Kind, Plan, StageCosts, chain_custody, equal_slots, make_plan, usual_hosts

NUMBERS = st.integers(0, 10**6)
PEERS = st.text("ab-7.<> é", min_size=1, max_size=9)


@st.composite
def actions(draw: st.DrawFn) -> Action:
    kind = draw(st.sampled_from(Kind))
    return Action(kind, draw(NUMBERS), draw(NUMBERS), "" if kind.is_compute else draw(PEERS))


@given(actions())
def test_text_and_action_are_inverses(action: Action) -> None:
    """Law: parse(str(a)) == a."""
    assert Action.parse(str(action)) == action


@given(st.from_regex(r"(F|B|D|E|SA|RA|SG|RG|WA|WG)[0-9]{1,2}\.[0-9]{1,2}([<>][a-z-]{0,5})?", fullmatch=True))
def test_what_is_parsed_prints_the_same(text: str) -> None:
    """Law: a text is refused or str(parse(t)) == t."""
    try:
        action = Action.parse(text)
    except PlanError:
        return
    assert str(action) == text


def test_text_forms() -> None:
    texts = ["F2.0", "B2.0", "SA2.0>worker-3", "RA2.0<worker-2", "SG2.0>worker-1", "RG2.0<worker-2"]
    texts += ["D2.0", "E2.0", "WA2.0<worker-3", "WG2.0<worker-3"]
    assert [str(Action.parse(text)) for text in texts] == texts
    assert [Action.parse(text).kind for text in texts] == list(Kind)


@pytest.mark.parametrize(
    "text", ["", "F", "F1", "X1.0", "F01.0", "SA1.0", "SA1.0<w", "RA1.0>w", "F1.0>w", "F1.0\n", "B٣.0"]
)
def test_what_is_no_action_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match=r"SW-P110: .* is no action of a plan"):
        Action.parse(text)


def test_numbers_below_zero_are_refused() -> None:
    with pytest.raises(PlanError, match="stage and micro-batch count from 0"):
        Action(Kind.FORWARD, -1, 0)


def test_every_kind_is_a_computation_a_send_a_receive_or_a_wait() -> None:
    for kind in Kind:
        assert [kind.is_compute, kind.is_send, kind.is_receive, kind.is_wait].count(True) == 1
    assert {kind for kind in Kind if kind.is_check} == {Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD}
    assert all(kind.is_compute for kind in Kind if kind.is_check)
    backward = {Kind.BACKWARD, Kind.SEND_GRADIENT, Kind.RECEIVE_GRADIENT, Kind.CHECK_BACKWARD, Kind.WAIT_GRADIENT}
    assert {kind for kind in Kind if kind.direction is Direction.BACKWARD} == backward


@given(st.one_of(plans(), checked_plans()))
def test_plan_survives_json(made: tuple[Plan, StageCosts]) -> None:
    """Law: from_json(json(to_json(p))) == p."""
    plan, _ = made
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def _data(**changes: Any) -> dict[str, Any]:
    return {**make_plan("gpipe", 2, 1, usual_hosts(2)).to_json(), **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected  an object with the keys schedule"),
        ({}, "got       no key"),
        (_data(extra=1), "expected  exactly the keys schedule"),
        (_data(stages="2"), "where     stages\n  expected  int\n  got       str"),
        (_data(stages=True), "got       bool"),
        (_data(lanes=[{"host": "initiator", "actions": [3]}]), "where     actions\n  expected  str"),
        (_data(when="later"), "where     when\n  expected  before_use or before_commit\n  got       'later'"),
        (_data(when=None), "got       None"),
        (_data(only=[True]), "where     only\n  expected  int\n  got       bool"),
        (_data(hosts=[{"name": "initiator"}]), "where     host\n  expected  exactly the keys name, stages"),
    ],
)
def test_what_is_no_plan_is_refused(data: object, message: str) -> None:
    with pytest.raises(PlanError, match="SW-P111") as refusal:
        Plan.from_json(data)
    assert message in str(refusal.value)


def test_the_data_of_an_unchecked_plan_has_no_key_of_checks() -> None:
    """Plans that were written down before there were checks can still be read."""
    data = make_plan("gpipe", 3, 2, usual_hosts(3)).to_json()
    assert set(data) == {"schedule", "stages", "micro_batches", "training", "hosts", "lanes"}
    assert {key for host in data["hosts"] for key in host} == {"name", "stages", "speed", "processor"}


def test_a_plan_knows_who_checks() -> None:
    plan = make_plan("gpipe", 4, 2, chain_custody(usual_hosts(4)), when="before_commit")
    assert [plan.checker_of(stage) for stage in range(4)] == [None, "worker-2", "initiator", None]


def test_a_plan_knows_its_hosts_and_lanes() -> None:
    plan = make_plan("gpipe", 4, 2, usual_hosts(4))
    assert [plan.host_of(stage) for stage in range(4)] == ["initiator", "worker-1", "worker-2", "initiator"]
    assert plan.lane_of("worker-2") is plan.lanes[2]
    with pytest.raises(PlanError, match="SW-P112: the plan has no stage 4"):
        plan.host_of(4)
    with pytest.raises(PlanError, match="SW-P112: the plan has no host 'oslo'"):
        plan.lane_of("oslo")


@pytest.mark.parametrize(
    ("forward", "backward", "transfer", "got"),
    [
        ((1.0,), (1.0, 1.0), 0.0, "1 forward, 2 backward"),
        ((-1.0,), (1.0,), 0.0, "-1.0"),
        ((1.0,), (float("inf"),), 0.0, "inf"),
        ((1.0,), (1.0,), float("nan"), "nan"),
    ],
)
def test_costs_that_are_no_times_are_refused(
    forward: tuple[float, ...], backward: tuple[float, ...], transfer: float, got: str
) -> None:
    with pytest.raises(PlanError, match=rf"SW-P109(.|\n)*got       {got}"):
        StageCosts(forward, backward, transfer)


def test_equal_slots() -> None:
    assert equal_slots(3) == StageCosts((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0)


def test_plans_need_no_torch() -> None:
    code = "import shieldwall.schedule, sys; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
