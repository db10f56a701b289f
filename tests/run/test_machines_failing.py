"""Workers that are killed, stopped or started again while the run goes on: no step is lost, and no bit differs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import overrides, shieldwall
from processes import Processes

from shieldwall.verify.ledger import verify_ledger

STEPS = ["run.steps=24", "evaluation.every_steps=6", "checkpoint.every_steps=6"]
NOTICED_S = 2.0
"""Within so many seconds a silence is noticed; a slot of these models takes milliseconds."""


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of the weights that one process ends with."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    root: str = shieldwall("train", "--run", folder, "--json", *overrides(*STEPS)).json()["weights_root"]
    return root


def lose(processes: Processes, name: str, how: signal.Signals, after: int) -> dict[str, Any]:
    """The run's summary, where a worker was sent a signal after so many steps."""
    processes.wait_for(lambda: processes.steps >= after)
    processes.workers[processes.number_of(name)].send_signal(how)
    assert processes.end() == 0, processes.said
    summary: dict[str, Any] = json.loads((processes.folder / "train.out").read_text())
    return summary


@pytest.mark.parametrize(
    ("how", "name", "topology"),
    [
        (signal.SIGKILL, "worker-2", "chain"),
        (signal.SIGSTOP, "worker-1", "star"),
    ],
)
def test_nothing_is_lost_with_a_worker(
    how: signal.Signals, name: str, topology: str, processes: Processes, undisturbed: str
) -> None:
    processes.train(*STEPS, f"pipeline.topology={topology}")
    processes.join(1, fresh=how == signal.SIGSTOP)  # the first to come is worker-1
    processes.wait_for(lambda: "worker-1 is there" in processes.said)
    processes.join(2, 3, 4)
    summary = lose(processes, name, how, after=3)
    assert summary["weights_root"] == undisturbed
    assert (summary["steps"], summary["steps_lost"], summary["verdicts"]) == (24, 0, [])
    [failure] = summary["failures"]
    assert (failure["worker"], failure["kind"]) == (name, "gone")
    assert failure["detected_s"] <= NOTICED_S
    assert "initiator takes over what it held" in processes.said
    assert verify_ledger(processes.folder / "run").steps == 24


def test_a_worker_that_is_started_again_takes_over_from_the_next(processes: Processes, tmp_path: Path) -> None:
    many = [
        "run.steps=40",
        "evaluation.every_steps=0",
        "checkpoint.every_steps=0",
    ]  # there has to be time to come back
    processes.train(*many)
    processes.join(1)
    processes.wait_for(lambda: "worker-1 is there" in processes.said)
    processes.join(2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 2)
    processes.workers[1].kill()
    processes.workers[1].wait()
    processes.join(1)
    processes.wait_for(lambda: "worker-1 is there and holds nothing yet" in processes.said)
    summary = lose(processes, "worker-3", signal.SIGKILL, after=processes.steps)
    assert "worker-3 is gone; worker-1 takes over what it held" in processes.said
    assert [failure["worker"] for failure in summary["failures"]] == ["worker-1", "worker-3"]
    assert processes.workers[1].wait() == 0
    here = shieldwall("train", "--run", tmp_path / "here", "--json", *overrides(*many)).json()
    assert summary["weights_root"] == here["weights_root"]


def test_without_duplicates_the_run_ends_and_says_who_is_gone(processes: Processes) -> None:
    processes.train(*STEPS, "verify.policy=none")
    processes.join(1, 2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 2)
    processes.workers[processes.number_of("worker-3")].kill()
    assert processes.end() == 1
    assert "SW-V301" in processes.said
    assert "worker-3 is gone" in processes.said
