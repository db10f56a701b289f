"""The pages about a run's files name exactly the keys that a run writes, and the how-to shows what a report holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import TINY

from shieldwall import Config, report, train

DOCS = Path(__file__).parents[2] / "docs"
RUNS = (DOCS / "runs.md").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    train(Config.load(None, [*TINY, "run.tensorboard=true"]), folder=folder)
    report(folder)
    return folder


def section(title: str) -> str:
    return RUNS.split(f"\n### {title}\n")[1].split("\n#")[0]


def documented(title: str) -> set[str]:
    """The names in the first column of a section's table."""
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_the_keys_of_metrics_are_those_on_the_page(run: Path) -> None:
    """In every line, but for the one that is only there after an evaluation."""
    found = lines(run / "metrics.jsonl")
    assert set().union(*found) == documented("metrics.jsonl")
    always = {
        name for row in section("metrics.jsonl").splitlines() if "| every line |" in row
        for name in re.findall(r"^\| `(\w+)`", row)
    }  # fmt: skip
    assert set.intersection(*(set(line) for line in found)) == always
    assert documented("metrics.jsonl") - always == {"eval_perplexity"}


def test_the_keys_of_a_trace_are_those_on_the_page(run: Path) -> None:
    assert all(line.keys() == documented("trace.jsonl") for line in lines(run / "trace.jsonl"))


def test_the_keys_of_the_other_files_are_those_on_the_pages(run: Path) -> None:
    assert set(json.loads((run / "summary.json").read_text())) == documented("summary.json")
    over_machines = {"joined", "reasons"}
    assert set(json.loads((run / "plan.json").read_text())) | over_machines == documented("plan --json")
    inputs = {name.partition(".")[0] for name in json.loads((run / "inputs.json").read_text())}
    listed = {name.partition(".")[0] for name in documented("inputs.json")}
    assert inputs <= listed
    assert listed - inputs <= {"weights", "examples"}


def test_the_examples_are_of_the_documented_form() -> None:
    example = section("metrics.jsonl").split("```json\n")[1].split("\n```")[0]
    assert json.loads(example).keys() == documented("metrics.jsonl")


def test_the_folder_holds_what_the_page_lists(run: Path) -> None:
    table = RUNS.split("| in the folder |")[1].split("\n\n")[0]
    listed = {name.split("/")[0] for name in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)}
    found = {path.name for path in run.iterdir()}
    assert found <= listed
    assert listed - found <= {"adapter", "custody.json", "evidence", "returns.jsonl", "workers.json"}


def test_the_how_to_lists_a_reports_files(run: Path) -> None:
    page = (DOCS / "how-to-report.md").read_text()
    assert set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE)) == {path.name for path in (run / "report").iterdir()}
