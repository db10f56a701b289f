"""The experiment over drawn pipelines: it goes on where it was stopped, and its counts are those of its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from shieldwall.lab.shield_property.__main__ import app
from shieldwall.lab.shield_property.journal import Journal
from shieldwall.lab.shield_property.report import count_by_kind


def row(number: int, kind: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "number": number,
        "attack": {"kind": kind},
        "drawn": "a pipeline",
        "fired": 4,
        "struck": 2,
        "caught": 2,
        "verdicts": 3,
        "false_accusations": 0,
        "rerun": 1,
        "changes_unchecked": True,
        "broken": [],
    }
    return {**plain, **changes}


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """The second command runs only what the first has not; a line that was cut off is run again."""
    arguments = ["--out", str(tmp_path), "--seed", "5", "--processes", "1", "--runs"]
    assert CliRunner().invoke(app, [*arguments, "2"]).exit_code == 0
    journal = tmp_path / "shield-5.jsonl"
    first, second = journal.read_text().splitlines()
    kept = first.replace('"drawn": "', '"drawn": "kept, ')
    journal.write_text(f"{kept}\n{second[:20]}")
    assert CliRunner().invoke(app, [*arguments, "3"]).exit_code == 0
    rows = Journal(journal).rows()
    assert sorted(rows) == [0, 1, 2]
    assert rows[0]["drawn"].startswith("kept, ")
    assert rows[1] == json.loads(second)
    report = json.loads((tmp_path / "shield.json").read_text())
    assert report["by_kind"] == count_by_kind(rows.values())
    assert report["by_kind"][-1]["runs"] == 3
    assert report["seed"] == 5
    assert "| all | 3 |" in (tmp_path / "shield.md").read_text()


def test_a_broken_law_is_told_and_ends_with_an_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "shield-0.jsonl")
    journal.add(row(0, "noise", caught=1, broken=["detection: worker-1 got away with step 1"]))
    result = CliRunner().invoke(app, ["--out", str(tmp_path), "--runs", "1"])
    assert result.exit_code == 1
    assert "got away with step 1" in (tmp_path / "shield.md").read_text()


def test_counts_are_sums_by_kind_and_over_all() -> None:
    rows = [
        row(0, "noise"),
        row(1, "replay", caught=1, changes_unchecked=None),
        row(2, "noise", fired=0, struck=0, caught=0),
    ]
    noise, replay, everything = count_by_kind(rows)
    assert (noise["kind"], noise["runs"], noise["fired_in"], noise["misses"]) == ("noise", 2, 1, 0)
    assert (replay["misses"], replay["changed_unchecked"]) == (1, 0)
    assert (everything["kind"], everything["runs"], everything["verdicts"]) == ("all", 3, 9)
