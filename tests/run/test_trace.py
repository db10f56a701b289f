"""`trace.jsonl`: when each pass of a step really ran."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import TINY

from shieldwall import Config, Hook, NonFiniteError, train
from shieldwall.core.hooks import Border
from shieldwall.core.lines import read_lines
from shieldwall.run.trace import is_traced
from shieldwall.schedule import Action, Kind, Plan


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "trace.jsonl").read_text().splitlines()]


def plan_of(folder: Path) -> Plan:
    return Plan.from_json(json.loads((folder / "plan.json").read_text())["plan"])


@pytest.fixture(scope="module", params=["gpipe", "1f1b"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / str(request.param)
    settings = [*TINY, "run.steps=10", "pipeline.workers=2", f"pipeline.schedule={request.param}"]
    train(Config.load(None, settings), folder=folder)
    return folder


def test_powers_of_two_are_traced() -> None:
    assert [step for step in range(70) if is_traced(step)] == [0, 1, 2, 4, 8, 16, 32, 64]


def test_each_pass_of_the_plan_stands_there_exactly_once_and_in_its_lanes_order(traced: Path) -> None:
    plan = plan_of(traced)
    assert [line["step"] for line in lines(traced)] == [0, 1, 2, 4, 8]
    for line in lines(traced):
        assert list(line) == ["step", "seconds", "cut", "work"]
        assert list(line["work"]) == [lane.host for lane in plan.lanes]
        for lane in plan.lanes:
            passes = [str(action) for action in lane.actions if action.kind.is_compute]
            assert [action for action, _, _ in line["work"][lane.host]] == passes


def test_times_lie_inside_the_step(traced: Path) -> None:
    whole = {line["step"]: line["seconds"] for line in read_lines(traced / "metrics.jsonl").lines}
    for line in lines(traced):
        assert line["seconds"] == whole[line["step"]]
        for passes in line["work"].values():
            edges = [edge for _, start_s, end_s in passes for edge in (start_s, end_s)]
            assert edges[0] >= 0.0
            assert all(before <= after for before, after in pairwise(edges))
            assert edges[-1] <= line["seconds"]


def test_hosts_of_one_process_are_on_one_clock_and_take_turns(traced: Path) -> None:
    """Story: measured from when a host took up its order, its passes were drawn while another host still computed.

    Hosts of one process take their orders late, because another one is computing; they count from its arrival. Their
    orders arrive one after the other, so a busy machine may set the clocks of one step apart, hardly those of all.
    """
    assert min(largest_overlap_s(line) for line in lines(traced)) < 1e-3


def largest_overlap_s(line: dict[str, Any]) -> float:
    spans = sorted((start_s, end_s) for passes in line["work"].values() for _, start_s, end_s in passes)
    return float(max(end_s - next_start_s for (_, end_s), (next_start_s, _) in pairwise(spans)))


def test_no_pass_runs_before_what_it_needs(traced: Path) -> None:
    assert min(largest_hurry_s(line) for line in lines(traced)) < 1e-3


def largest_hurry_s(line: dict[str, Any]) -> float:
    """By how much a pass began before the pass ended whose tensor it works on."""
    rows = [(Action.parse(text), *times) for passes in line["work"].values() for text, *times in passes]
    found = {(action.kind, action.stage, action.micro_batch): times for action, *times in rows}
    hurries = [-1.0]
    for (kind, stage, micro_batch), (start_s, _) in found.items():
        backward = kind in (Kind.BACKWARD, Kind.CHECK_BACKWARD)
        before = (Kind.BACKWARD if backward else Kind.FORWARD, stage + (1 if backward else -1), micro_batch)
        if before in found:
            hurries.append(found[before][1] - start_s)
    return max(hurries)


def test_a_resumed_run_holds_each_traced_step_once(tmp_path: Path) -> None:
    """A step after the last checkpoint is run again, and a line that a kill cut short is dropped."""

    class Breaks(Hook):
        async def after_forward(self, border: Border, activation_BTD: Any) -> Any:
            return activation_BTD * float("nan") if border.slot.step == 9 else activation_BTD

    folder = tmp_path / "run"
    settings = [*TINY, "verify.policy=none", "run.steps=12", "checkpoint.every_steps=7", "evaluation.every_steps=0"]
    with pytest.raises(NonFiniteError):
        train(Config.load(None, settings), folder=folder, hooks_of={"worker-1": [Breaks()]})
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 4, 8]
    with (folder / "trace.jsonl").open("a") as trace:
        trace.write('{"step": 16, "wor')
    train(folder=folder, resume=True)
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 4, 8]
