"""Acceptance: hosts at a set speed take as long as the simulation says, within a tenth."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shieldwall.lab.pacing import EQUAL, GOAL, SIZE, UNEVEN, PacedCase, measure_case, own_hosts
from shieldwall.schedule import Host, StageCosts, usual_hosts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("pacing") / "model"
    SIZE.write_model(0, model)
    return model


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(
    ("costs", "hosts"),
    [(EQUAL, own_hosts()), (UNEVEN, usual_hosts(6))],
    ids=["equal-apart", "uneven-usual"],
)
def test_paced_hosts_take_as_long_as_simulated(
    folder: Path, schedule: str, costs: StageCosts, hosts: tuple[Host, ...]
) -> None:
    """The least of two steps is held against the simulation: other load on the machine only ever adds time."""
    result = asyncio.run(measure_case(PacedCase("", schedule, costs, hosts), folder, 2, 0))
    assert result.passes == 48
    assert result.simulated_s > 1.0
    assert min(result.differences.values) == pytest.approx(0.0, abs=GOAL)
