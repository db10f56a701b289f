"""The benchmarks' machinery, at a size at which the numbers say nothing: files, completeness, receipts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import shieldwall.lab.bench
from shieldwall.core.errors import BenchmarkError
from shieldwall.lab.bench import app
from shieldwall.lab.charts import Chart, ChartRow, draw_chart
from shieldwall.lab.memory import WAYS
from shieldwall.lab.record import Column, Goal, Origin, Receipt, Report, Spread, Table

HERE = ("throughput", "memory", "pacing", "shield_cost")
ELSEWHERE = ("wire", "machines", "thin_links")
"""Those whose other processes may be forks of a warm one: how much memory they have is no part of the result."""
NAMES = HERE + ELSEWHERE
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, warm_programs: Path) -> Path:
    """What the whole benchmark leaves behind."""
    out = tmp_path_factory.mktemp("results")
    measure(out, HERE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "executable", str(warm_programs / "python"))
        measure(out, ELSEWHERE)
    return out


def measure(out: Path, names: Sequence[str]) -> None:
    arguments = ["--out", str(out), "--scale", "tiny", "--repeats", "1", "--threads", "1"]
    outcome = CliRunner().invoke(app, [*arguments, *(f"--only={name}" for name in names)], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output


def read(results: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
    return content


def test_each_benchmark_leaves_three_files(results: Path) -> None:
    assert sorted(path.name for path in results.iterdir()) == sorted(
        f"{name}.{ending}" for name in NAMES for ending in ("json", "md", "png")
    )
    assert all((results / f"{name}.png").read_bytes().startswith(PNG) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_says_how_and_on_what_it_was_made(results: Path, name: str) -> None:
    found = read(results, name)
    assert found["benchmark"] == name
    assert found["command"].startswith("python -m shieldwall.lab.bench")
    assert (found["seed"], found["threads"]) == (0, 1)
    assert {"cpu", "cores", "memory_gib", "torch", "transformers", "python"} <= found["machine"].keys()
    assert found["goals"]
    assert all(goal["met"] == meets(goal) for goal in found["goals"])
    assert found["setup"]["repeats"] == 1


def meets(goal: dict[str, Any]) -> bool:
    return bool(goal["measured"] >= goal["limit"] if goal["at_least"] else goal["measured"] <= goal["limit"])


@pytest.mark.parametrize("name", NAMES)
def test_every_receipt_holds(results: Path, name: str) -> None:
    receipts = read(results, name)["receipts"]
    assert receipts
    assert all(receipt["holds"] for receipt in receipts)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_the_json_says(results: Path, name: str) -> None:
    page, found = (results / f"{name}.md").read_text(), read(results, name)
    for goal in found["goals"]:
        assert f"{goal['text']}: {goal['measured']:.3f}" in page
    assert page.count(": met") + page.count(": **MISSED**") == len(found["goals"])
    assert found["command"] in page
    assert found["machine"]["cpu"] in page


def test_throughput_compares_all_ways_in_each_repeat(results: Path) -> None:
    found = read(results, "throughput")
    rows = {row["variant"]: row for row in found["variants"]}
    assert set(rows) == {
        "plain",
        "shieldwall K=3 gpipe",
        "shieldwall K=6 gpipe",
        "shieldwall K=6 1f1b",
        "shieldwall K=3 gpipe, gradient checkpointing",
        "shieldwall K=6 gpipe, gradient checkpointing",
        "plain, gradient checkpointing",
        "plain, all forwards first",
        "plain, default AdamW (loop)",
    }
    assert rows["plain"]["ratio_values"] == [1.0]
    plain_rate = rows["plain"]["tokens_per_second_median"]
    for name, row in rows.items():
        assert row["ratio_median"] == pytest.approx(row["tokens_per_second_median"] / plain_rate)
        assert row["losses_equal_plain"] or name == "plain, default AdamW (loop)"


def test_throughput_holds_the_pipeline_against_torchs_own(results: Path) -> None:
    found = read(results, "throughput")
    rows = {row["variant"]: row for row in found["side_by_side"]}
    ours, theirs = ("shieldwall K=2 gpipe", "shieldwall K=2 1f1b"), ("torch K=2 gpipe", "torch K=2 1f1b")
    assert list(rows) == ["plain", *ours, *theirs]
    assert [row["processes"] for row in rows.values()] == [1, 1, 1, 2, 2]
    assert all(rows[name]["loss_difference"] == 0 for name in ours)
    assert all(rows[name]["loss_difference"] < 1e-6 for name in theirs)
    paired = {(row["stages"], row["schedule"]): row["ours_to_torch_median"] for row in found["side_by_side_paired"]}
    assert set(paired) == {(2, "gpipe"), (2, "1f1b")}
    for one, other in zip(ours, theirs, strict=True):
        assert paired[2, one.split()[-1]] == pytest.approx(rows[one]["ratio_median"] / rows[other]["ratio_median"])
    assert (found["setup"]["micro_batches"], found["setup"]["side_by_side_micro_batches"]) == (4, 8)
    page = (results / "throughput.md").read_text()
    assert all(f"| {name} |" in page for name in rows)


def test_worker_processes_are_held_against_as_many_of_torchs(results: Path) -> None:
    found = read(results, "machines")
    rows = {row["variant"]: row for row in found["machines"]}
    ours, theirs = "shieldwall, 2 processes, gpipe", "torch, 2 processes, gpipe"
    assert list(rows) == ["plain", ours, theirs]
    assert [row["processes"] for row in rows.values()] == [1, 2, 2]
    assert rows[ours]["loss_difference"] == 0
    (paired,) = found["machines_paired"]
    assert paired["ours_to_torch_median"] == pytest.approx(rows[ours]["ratio_median"] / rows[theirs]["ratio_median"])
    assert [goal["measured"] for goal in found["goals"]] == [paired["ours_to_torch_median"]]


def test_frames_of_each_size_go_over_each_line_in_both_ways(results: Path) -> None:
    rows = read(results, "wire")["wire"]
    assert [(row["delay_ms"], row["frame_mib"]) for row in rows] == [(0, 1 / 16), (5, 1 / 16)]
    for row in rows:
        assert row["ratio_median"] == pytest.approx(row["ours_mib_s_median"] / row["plain_mib_s_median"])
    slow = rows[1]
    assert all(slow[way] <= slow["frame_mib"] / 0.010 for way in ("ours_mib_s_median", "plain_mib_s_median"))


def test_thin_lines_are_held_against_the_loopback(results: Path) -> None:
    found = read(results, "thin_links")
    local, thin = found["thin_links"]
    assert (local["variant"], thin["variant"]) == ("loopback, none", "200 Mb/s + 20 ms, int8")
    assert local["tensor_mib"] == 4 * 4 * 2 * 16 * 32 * 4 / 2**20  # 4 micro-batches over 2 borders both ways, float32
    assert thin["tensor_mib"] == local["tensor_mib"] / 4 * (32 + 4) / 32  # a scale for each row of 32
    assert thin["step_ms_median"] > 160  # out and back over a line for the orders, forward and backward
    assert thin["last_loss"] != local["last_loss"]
    assert [goal["measured"] for goal in found["goals"]] == [thin["ratio_median"]]


def test_a_worker_that_cannot_come_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    arguments = ["--out", str(tmp_path / "out"), "--scale", "tiny", "--repeats", "1", "--only", "thin_links"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 1
    assert "BenchmarkError SW-B103" in outcome.stderr
    assert "where     worker-1" in outcome.stderr
    assert "exit code 1" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_the_parts_of_a_step_add_up(results: Path) -> None:
    *parts, whole = read(results, "throughput")["overhead"]
    assert whole["part"] == "whole step"
    assert sum(part["pipeline_ms"] for part in parts) == pytest.approx(whole["pipeline_ms"], rel=0.25)
    assert {"copies for the new state beside the old", "checks that all is finite"} <= {part["part"] for part in parts}


def test_memory_is_that_of_processes_of_their_own(results: Path) -> None:
    rows = {row["variant"]: row for row in read(results, "memory")["tiny"]}
    assert list(rows) == [way.name for way in WAYS]
    nothing = rows["libraries imported, nothing built"]["peak_mib_median"]
    assert nothing > 50
    assert all(row["peak_mib_median"] > nothing for name, row in rows.items() if not name.startswith("libraries"))
    assert rows["plain, all forwards first"]["to_all_forwards"] == 1.0


def test_a_benchmark_that_fails_says_so_and_ends_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BenchmarkError("SW-B101", "a rank ended", got="rank 1: SIGKILL")

    monkeypatch.setattr(shieldwall.lab.bench, "run_benchmarks", fail)
    outcome = CliRunner().invoke(app, ["--out", str(tmp_path / "out"), "--scale", "tiny", "--threads", "1"])
    assert outcome.exit_code == 1
    assert "BenchmarkError SW-B101: a rank ended\n  got       rank 1: SIGKILL" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_a_missed_goal_and_a_broken_receipt_are_stated(tmp_path: Path) -> None:
    report = Report(
        name="example",
        title="Example",
        setup={"size": 1},
        tables=(Table("rows", "Rows", (Column("a", "a", "{:.1f}"),), [{"a": 1.25, "hidden": 7}]),),
        goals=(
            Goal(text="share", limit=0.97, measured=0.96, at_least=True),
            Goal(text="ratio", limit=1.1, measured=1.0, at_least=False),
        ),
        receipts=(Receipt("work was the same", False),),
        notes=("a note",),
        chart=Chart(title="t", x_label="x", rows=(ChartRow("a", (1.0, 2.0), True),)),
    )
    report.write(tmp_path, Origin(command="example", seed=3, threads=1))
    page, found = (tmp_path / "example.md").read_text(), read(tmp_path, "example")
    assert "share: 0.960, goal >= 0.97: **MISSED**" in page
    assert "ratio: 1.000, goal <= 1.1: met" in page
    assert "work was the same: **NO**" in page
    assert not report.sound
    assert found["rows"] == [{"a": 1.25, "hidden": 7}]
    assert re.search(r"^\| 1\.2 \|$", page, re.MULTILINE)


def test_a_spread_keeps_every_value() -> None:
    assert Spread((3.0, 1.0, 2.0)).to_json("x") == {
        "x_median": 2.0,
        "x_min": 1.0,
        "x_max": 3.0,
        "x_values": [3.0, 1.0, 2.0],
    }


def test_a_chart_of_one_value_is_drawn() -> None:
    chart = Chart(title="t", x_label="x", rows=(ChartRow("one", (1.0,), False),), limits=((0.97, "goal"),))
    assert draw_chart(chart).startswith(PNG)
