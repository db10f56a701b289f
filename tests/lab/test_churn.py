"""Workers that come and go all the time: nothing is lost, and what a process holds of its machine does not pile up."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from shieldwall.lab.churn.churned import Change, Churned, churn
from shieldwall.lab.churn.report import MEMORY_RATIO, make_report
from shieldwall.lab.churn.samples import Sample, growth, look
from shieldwall.lab.record import Origin
from shieldwall.lab.recovery.undisturbed import settings_of, undisturbed_root

STEPS = 110
"""Time for each kind of change on a quick machine."""
PILE = 12
"""So many more files or threads after a few changes would be some for each."""


@pytest.mark.timeout(600)
def test_workers_come_and_go_and_nothing_piles_up(tmp_path: Path) -> None:
    settings = settings_of(STEPS, "chain")
    found = asyncio.run(churn(tmp_path / "machines", settings, 0.0, most=len(Change)))
    assert found.code == 0, found.said
    assert found.changes == list(Change), found.said
    assert (found.summary["steps_lost"], found.summary["verdicts"]) == (0, [])
    for samples in found.samples.values():
        assert samples[-1].files - samples[0].files < PILE
        assert samples[-1].threads - samples[0].threads < PILE
    root = undisturbed_root(tmp_path / "here", settings)
    report = make_report(found, root, {"steps": STEPS})
    assert report.sound, [receipt for receipt in report.receipts if not receipt.holds]
    report.write(tmp_path / "out", Origin(command="the test", seed=0, threads=1))
    assert len(json.loads((tmp_path / "out" / "churn.json").read_text())["growth"]) == 6


def test_what_grows_is_seen_and_what_does_not_is_not() -> None:
    """The first quarter, in which everything is taken once, does not count."""
    steps = range(0, 400, 10)
    flat = [Sample(step, 100.0 if step >= 100 else step / 1.0, 30, 8) for step in steps]
    leaks = [Sample(step, 100.0 + 0.1 * step, 30 + step // 40, 8) for step in steps]
    assert (growth(flat, "memory_mib").ratio, growth(flat, "memory_mib").slope) == (1.0, 0.0)
    assert growth(leaks, "memory_mib").ratio > MEMORY_RATIO
    assert growth(leaks, "memory_mib").slope == pytest.approx(10.0)
    assert growth(leaks, "files").last - growth(leaks, "files").first > 3
    assert growth(leaks, "threads").slope == 0.0


def test_a_process_is_looked_at_while_it_is_there() -> None:
    seen = look(os.getpid(), 7)
    assert seen is not None
    assert (seen.step, seen.memory_mib > 1, seen.files > 0, seen.threads > 0) == (7, True, True, True)
    assert look(2**22 + 1, 7) is None


@pytest.mark.parametrize("leaks", [False, True], ids=["flat", "leaks"])
def test_the_report_says_whether_it_is_flat(leaks: bool, tmp_path: Path) -> None:
    samples = [Sample(step, 100.0 + leaks * step, 30, 8) for step in range(1, 41)]
    found = Churned(code=0, summary={"weights_root": "a", "steps_lost": 0, "verdicts": []}, changes=list(Change))
    for kept in found.samples.values():
        kept.extend(samples)
    report = make_report(found, "a", {"steps": 40})
    assert report.sound
    assert [goal.met for goal in report.goals] == [not leaks, True, True] * 2
    report.write(tmp_path, Origin(command="the test", seed=0, threads=1))
    written = json.loads((tmp_path / "churn.json").read_text())
    assert written["setup"]["flat"] == ("NO" if leaks else "yes")
    assert len(written["growth"]) == 6
    assert (tmp_path / "churn.png").stat().st_size > 0
