"""Runs whose workers are killed, stopped and cut off at the very moment: nothing is lost, nobody is blamed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from shieldwall.lab.recovery.disturbed import WORKERS, disturb
from shieldwall.lab.recovery.faults import Fault, How, Moment, draw_faults
from shieldwall.lab.recovery.undisturbed import settings_of, undisturbed_root
from shieldwall.verify.ledger import verify_ledger

FAULTS = 10
"""In each of two runs: a tenth of what `make experiments` does."""
NOTICED_S = 2.5
"""The promise is 2 s; the suite shares its processor, and the promise is measured elsewhere."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("topology", ["chain", "star"])
def test_no_step_is_lost_whatever_happens_to_one_worker_at_a_time(topology: str, tmp_path: Path) -> None:
    settings = settings_of(FAULTS * 14, topology)
    faults = draw_faults(Random(topology), FAULTS, WORKERS)
    found = asyncio.run(disturb(tmp_path / "machines", settings, faults))
    assert found.code == 0, found.said
    happened = [Fault(row["worker"], Moment(row["moment"]), How(row["how"])) for row in found.rows]
    assert happened == faults, found.said
    assert {row["worker"] for row in found.summary["failures"]} <= {f"worker-{number}" for number in range(1, 5)}
    assert len(found.summary["failures"]) >= FAULTS
    assert (found.summary["steps_lost"], found.summary["verdicts"]) == (0, [])
    assert found.summary["weights_root"] == undisturbed_root(tmp_path / "here", settings)
    assert max(row["noticed_s"] for row in found.rows) <= NOTICED_S
    assert verify_ledger(tmp_path / "machines" / "run").steps == FAULTS * 14


def test_every_moment_and_every_kind_is_drawn() -> None:
    drawn = draw_faults(Random(0), 30, WORKERS)
    assert {fault.moment for fault in drawn} == set(Moment)
    assert {fault.how for fault in drawn} == set(How)
    assert {fault.worker for fault in drawn} == set(range(1, WORKERS + 1))
