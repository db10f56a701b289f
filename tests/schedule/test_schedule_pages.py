"""The pages say what the code does: each error has a page with its real message, each grid is a printed one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from schedule_plans import own_hosts
from test_schedule_validate import ASH, BIRCH, two

import shieldwall.schedule
from shieldwall.core.errors import PlanError
from shieldwall.schedule import (
    SCHEDULES,
    Action,
    Host,
    Lane,
    Plan,
    StageCosts,
    When,
    chain_custody,
    equal_slots,
    make_plan,
    render_grid,
    render_lanes,
    simulate,
    traffic_of,
    usual_hosts,
    validate_plan,
)

DOCS = Path(__file__).parents[2] / "docs"
A, B, C = Host("ash", (0,)), Host("birch", (1,)), Host("cedar", (2,))


def _make(*hosts: Host) -> Callable[[], object]:
    return lambda: make_plan("gpipe", 2, 1, hosts)


def _validate(ash: str, birch: str) -> Callable[[], object]:
    return lambda: validate_plan(two(ash, birch))


def _only_forward(stage: int, stages: int, micro_batches: int) -> tuple[Action, ...]:  # noqa: ARG001
    return (Action.parse(f"F{stage}.0"),)


def _broken_schedule() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SCHEDULES, "_built_in", {"mine": f"{__name__}:_only_forward"})
        make_plan("mine", 2, 1, [A, B])


def _checked(*hosts: Host, when: When | None = "before_commit", only: tuple[int, ...] = (0, 1)) -> Callable[[], object]:
    return lambda: make_plan("gpipe", 3, 2, hosts, when=when, only=only)


def _unsettled() -> None:
    plan = make_plan("gpipe", 3, 1, [A, B, replace(C, duplicates=(1,))], when="before_use", training=False)
    lanes = (*plan.lanes[:2], Lane("cedar", tuple(a for a in plan.lanes[2].actions if not a.kind.is_wait)))
    validate_plan(replace(plan, lanes=lanes))


EXAMPLES: dict[str, Callable[[], object]] = {
    "SW-P101": lambda: make_plan("zigzag", 2, 1, [A, B]),
    "SW-P102": lambda: make_plan("gpipe", 0, 1, []),
    "SW-P103": lambda: make_plan("gpipe", 2, 0, [A, B]),
    "SW-P104": _make(A, B, Host("cedar", (1,))),
    "SW-P105": _make(A, B, Host("cedar", ())),
    "SW-P106": _make(A, Host("birch", (1, 2))),
    "SW-P107": _make(A, Host("birch", (1,), speed=0.0)),
    "SW-P108": _make(A, Host("ash", (1,))),
    "SW-P109": lambda: make_plan("gpipe", 2, 1, [A, B], equal_slots(3)),
    "SW-P110": lambda: Action.parse("SA2.0"),
    "SW-P111": lambda: Plan.from_json({"schedule": "gpipe", "stages": 2}),
    "SW-P112": lambda: make_plan("gpipe", 2, 1, [A, B]).lane_of("oslo"),
    "SW-P113": _broken_schedule,
    "SW-P114": _checked(A, B, replace(C, duplicates=(1,)), when=None),
    "SW-P115": _checked(A, B, replace(C, duplicates=(2,))),
    "SW-P116": _checked(replace(A, duplicates=(1,)), B, replace(C, duplicates=(1,))),
    "SW-P117": _checked(A, replace(B, duplicates=(1,)), C),
    "SW-P118": _checked(A, B, C, only=(1, 2)),
    "SW-P119": lambda: make_plan("gpipe", 2, 1, [A, B], topology="ring"),  # type: ignore[arg-type]
    "SW-P120": lambda: validate_plan(Plan("by hand", 2, 1, True, (A, B), two(ASH, BIRCH).lanes[:1])),
    "SW-P121": _validate("F0.0 F0.0", BIRCH),
    "SW-P122": _validate("B0.0 F0.0", BIRCH),
    "SW-P123": _validate("F0.0 SA0.0>birch B0.0", BIRCH),
    "SW-P124": _validate(ASH, "F1.0 RA0.0<ash B1.0 SG1.0>ash"),
    "SW-P125": _validate("F0.0 RG1.0<birch SA0.0>birch B0.0", BIRCH),
    "SW-P126": _unsettled,
}


@pytest.mark.parametrize("code", EXAMPLES)
def test_each_page_shows_the_real_message(code: str) -> None:
    page = (DOCS / "errors" / f"{code}.md").read_text()
    with pytest.raises(PlanError, match=code) as refusal:
        EXAMPLES[code]()
    assert page.startswith(f"# {code}: ")
    assert f"\n```\n{refusal.value}\n```\n" in page


def test_each_code_has_a_page_and_an_example() -> None:
    room = Path(shieldwall.schedule.__file__).parent
    used = {code for file in room.rglob("*.py") for code in re.findall(r'"(SW-P1[0-9]{2})"', file.read_text())}
    assert used == set(EXAMPLES)
    assert used <= {page.stem for page in (DOCS / "errors").glob("*.md")}


def test_the_grids_of_the_page_are_printed_ones() -> None:
    page = (DOCS / "schedule.md").read_text()
    for name in SCHEDULES:
        assert f"\n```\n{render_grid(make_plan(name, 6, 4, own_hosts(6)))}\n```\n" in page
    assert render_lanes(make_plan("gpipe", 3, 1, usual_hosts(3))) in page
    star = make_plan("gpipe", 4, 1, chain_custody(usual_hosts(4)), when="before_commit", topology="star")
    assert f"\n```\n{render_lanes(star)}\n{traffic_of(star)}\n```\n" in page
    costs = StageCosts((1.0,) * 6, (2.0,) * 6)
    checked = make_plan("1f1b", 6, 4, chain_custody(own_hosts(6)), costs, when="before_commit")
    assert f"\n```\n{render_grid(checked, costs)}\n```\n" in page


def test_the_slots_of_the_page_are_simulated_ones() -> None:
    """The table under "Checks", row by row."""
    page = (DOCS / "schedule.md").read_text()
    costs = StageCosts((1.0,) * 6, (2.0,) * 6)
    places = {"six, each with one stage": own_hosts(6), "five, the initiator with stages 0 and 5": usual_hosts(6)}
    for place, hosts in places.items():
        for name in ("gpipe", "1f1b"):
            bare = simulate(make_plan(name, 6, 4, hosts, costs), costs).step_s
            times: list[When] = ["before_commit", "before_use"]
            steps = [simulate(make_plan(name, 6, 4, chain_custody(hosts), costs, when=t), costs).step_s for t in times]
            cells = " | ".join(f"{step:.0f} ({step / bare:.2f} times)" for step in steps)
            assert f"| {place} | {name} | {bare:.0f} slots | {cells} |" in page
