"""Lateness: by the medians of others, persistent, and no blame for the whole machine being slow."""

from __future__ import annotations

from shieldwall.core.messages import PassTime
from shieldwall.run.lateness import STEPS, Lateness
from shieldwall.schedule import Host, Plan, StageCosts, make_plan

COSTS = StageCosts(forward_s=(0.1,) * 4, backward_s=(0.2,) * 4)
PLAN = make_plan(
    "gpipe",
    4,
    2,
    (Host("initiator", (0, 3)), Host("worker-1", (1,)), Host("worker-2", (2,))),
    COSTS,
)


def work(plan: Plan, times: dict[str, float]) -> dict[str, tuple[PassTime, ...]]:
    """Every pass takes so many times what it should, by host."""
    found = {}
    for lane in plan.lanes:
        now_s, passes = 0.0, []
        for action in lane.actions:
            if not action.kind.is_compute:
                continue
            seconds = (0.1 if str(action).startswith("F") else 0.2) * times.get(lane.host, 1.0)
            passes.append(PassTime(str(action), now_s, now_s + seconds))
            now_s += seconds
        found[lane.host] = tuple(passes)
    return found


def test_who_is_ten_times_slower_than_the_rest_is_late_after_some_steps() -> None:
    lateness = Lateness(COSTS)
    told = [list(lateness.note(PLAN, work(PLAN, {"worker-2": 10.0}))) for _ in range(STEPS)]
    assert told == [[]] * (STEPS - 1) + [["worker-2"]]


def test_everybody_slow_is_nobody_late() -> None:
    lateness = Lateness(COSTS)
    everybody = dict.fromkeys(("initiator", "worker-1", "worker-2"), 10.0)
    assert [lateness.note(PLAN, work(PLAN, everybody)) for _ in range(2 * STEPS)] == [{}] * (2 * STEPS)


def test_a_step_in_time_begins_the_count_anew() -> None:
    lateness = Lateness(COSTS)
    for _ in range(3):
        for _ in range(STEPS - 1):
            assert lateness.note(PLAN, work(PLAN, {"worker-1": 10.0})) == {}
        assert lateness.note(PLAN, work(PLAN, {})) == {}


def test_what_is_not_of_the_plan_counts_for_nothing() -> None:
    """A worker cannot make others late by what it says of itself, nor break the count with what makes no sense."""
    lateness = Lateness(COSTS)
    said = work(PLAN, {}) | {"worker-1": (PassTime("F9.9", 0.0, 1e9), PassTime("F1.0", 0.0, float("nan")))}
    assert [lateness.note(PLAN, said) for _ in range(2 * STEPS)] == [{}] * (2 * STEPS)
