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


LONG = ["run.steps=40", "evaluation.every_steps=0", "checkpoint.every_steps=4"]
"""There has to be time to come back."""


@pytest.fixture(scope="module")
def undisturbed_for_long(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of the weights that one process ends with after that many steps."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    root: str = shieldwall("train", "--run", folder, "--json", *overrides(*LONG)).json()["weights_root"]
    return root


def ended(processes: Processes) -> dict[str, Any]:
    """The summary of a run that ends well."""
    assert processes.end() == 0, processes.said
    summary: dict[str, Any] = json.loads((processes.folder / "run" / "summary.json").read_text())
    return summary


def test_a_worker_that_is_started_again_takes_its_work_back(processes: Processes, undisturbed_for_long: str) -> None:
    processes.train(*LONG)
    processes.join(1)
    processes.wait_for(lambda: "worker-1 is there" in processes.said)
    processes.join(2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 2)
    processes.workers[1].kill()
    processes.workers[1].wait()
    processes.join(1)
    place = processes.place("worker-1")
    processes.wait_for(lambda: f"worker-1 takes stage {place} from the initiator" in processes.said)
    summary = ended(processes)
    assert [failure["worker"] for failure in summary["failures"]] == ["worker-1"]
    assert (summary["weights_root"], summary["steps_lost"]) == (undisturbed_for_long, 0)
    assert processes.workers[1].wait() == 0


def test_a_worker_leaves_in_order_and_a_stranger_takes_its_place(
    processes: Processes, undisturbed_for_long: str
) -> None:
    processes.train(*LONG)
    processes.join(1, fresh=True)
    processes.wait_for(lambda: "worker-1 is there" in processes.said)
    processes.join(2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 2)
    processes.workers[1].terminate()
    processes.wait_for(lambda: "worker-1 has left; initiator takes over what it held" in processes.said)
    assert processes.workers[1].wait() == 0
    ticket = shieldwall("invite", processes.folder / "run", "--ttl", "1h")
    processes.join(5, ticket=ticket.out.split()[-1])
    place = processes.place("worker-1")
    processes.wait_for(lambda: f"worker-5 takes stage {place} from the initiator" in processes.said)
    summary = ended(processes)
    assert (summary["weights_root"], summary["failures"], summary["verdicts"]) == (undisturbed_for_long, [], [])
    assert processes.workers[5].wait() == 0
    assert verify_ledger(processes.folder / "run").steps == 40


def test_both_holders_of_a_state_lost_takes_the_run_back_by_itself(
    processes: Processes, undisturbed_for_long: str
) -> None:
    processes.train(*LONG)
    processes.join(1, 2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 6)
    both = [processes.holder(stage) for stage in (2, 3)]
    for name in both:
        processes.workers[processes.number_of(name)].kill()
    summary = ended(processes)
    assert summary["weights_root"] == undisturbed_for_long
    assert "(SW-V302)" in processes.said
    assert f"going on without {', '.join(sorted(both))}" in processes.said
    assert {failure["worker"] for failure in summary["failures"]} == {*both}
    assert 0 < summary["steps_lost"] <= 4
    assert verify_ledger(processes.folder / "run").replaced_steps == summary["steps_lost"]


def test_the_initiator_comes_back_and_its_workers_find_it(processes: Processes, undisturbed_for_long: str) -> None:
    processes.train(*LONG, fresh=True)
    processes.join(1, 2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 6)
    processes.kill_training()
    processes.resume()
    summary = ended(processes)
    assert (summary["weights_root"], summary["failures"]) == (undisturbed_for_long, [])
    assert 0 < summary["steps_lost"] <= 4
    assert all(worker.wait() == 0 for worker in processes.workers.values())


def test_without_duplicates_the_run_goes_back_by_itself(processes: Processes, undisturbed: str) -> None:
    processes.train(*STEPS, "verify.policy=none", "checkpoint.every_steps=2")
    processes.join(1, 2, 3, 4)
    processes.wait_for(lambda: processes.steps >= 3)
    processes.workers[processes.number_of("worker-3")].kill()
    summary = ended(processes)
    assert "worker-3 is gone, and nobody else has what it held (SW-V301)" in processes.said
    assert "going on without worker-3" in processes.said
    assert summary["weights_root"] == undisturbed
    assert [failure["worker"] for failure in summary["failures"]] == ["worker-3"]
    assert summary["steps_lost"] <= 2
