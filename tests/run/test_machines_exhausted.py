"""Memory and disks that run out under real limits, on workers and the initiator: nobody is blamed, no bit differs."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w
from commands import overrides, shieldwall
from processes import Processes

from shieldwall.run.machines.status import WorkerStatus, workers
from shieldwall.verify.ledger import verify_ledger

SMALL = ["pipeline.stages=4", "data.eval_blocks=4", "evaluation.every_steps=0"]
"""Two workers and few messages."""
LARGE = [
    *SMALL,
    "run.steps=3",
    "checkpoint.every_steps=0",
    "model.layers=8",
    "model.width=192",
    "pipeline.cut=[2,2,2,2]",
]
"""A worker's stage and duplicate have 7 MB, and four times that in gradients while a step is in work."""
MORE_BYTES = 8 << 20
"""Enough to receive them, and for a process to say a few words more."""


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


def weights_root(folder: Path, settings: list[str]) -> str:
    """Of the weights that one process ends with."""
    root: str = shieldwall("train", "--run", folder, "--json", *overrides(*settings)).json()["weights_root"]
    return root


def ended(processes: Processes) -> dict[str, Any]:
    """The summary of a run that ends well."""
    assert processes.end() == 0, processes.said
    summary: dict[str, Any] = json.loads((processes.folder / "run" / "summary.json").read_text())
    return summary


def shown(processes: Processes, name: str) -> WorkerStatus | None:
    """What `shieldwall workers` says of a worker, once it is there with its process."""
    found = (each for each in workers(processes.folder / "run") if each.name == name and each.pid and each.speed)
    return next(found, None)


def test_a_worker_whose_memory_runs_out_says_so_if_it_can_and_goes_without_blame(processes: Processes) -> None:
    """Where memory runs out inside gRPC, which cannot do without, that ends the process, and the worker is gone."""
    undisturbed = weights_root(processes.folder / "here", LARGE)
    processes.train(*LARGE)
    processes.join(1)
    processes.wait_for(lambda: "worker-1 is there" in processes.said)
    processes.join(2)
    processes.wait_for(lambda: shown(processes, "worker-1") is not None)
    worker = shown(processes, "worker-1")
    assert worker
    assert worker.pid
    used = psutil.Process(worker.pid).memory_info().data
    resource.prlimit(worker.pid, resource.RLIMIT_DATA, (used + MORE_BYTES, resource.RLIM_INFINITY))
    summary = ended(processes)
    code = processes.workers[1].wait()
    said = "NoMemoryError SW-S201: worker-1 has run out of memory" in processes.told(1)
    assert code == 1 if said else code < 0, processes.told(1)
    how, kind = ("has run out of memory", "memory") if said else ("is gone", "gone")
    assert f"worker-1 {how}; initiator takes over what it held" in processes.said
    assert ("worker-1", kind) in [(each["worker"], each["kind"]) for each in summary["failures"]]
    assert (summary["weights_root"], summary["steps_lost"], summary["verdicts"]) == (undisturbed, 0, [])
    assert processes.workers[2].wait() == 0


def test_a_worker_whose_disk_is_full_says_so_and_the_run_is_unharmed(processes: Processes) -> None:
    """What it falsifies is to be written to a device that is always full."""
    settings = [*SMALL, "run.steps=3", "checkpoint.every_steps=0"]
    attack = processes.folder / "cheat.toml"
    attack.write_text(tomli_w.dumps({"attack": [{"kind": "sign_flip", "stage": "worker-1", "from_step": 1}]}))
    processes.train(*settings)
    processes.join(1, attack=attack, attack_log=Path("/dev/full"))
    processes.wait_for(lambda: "worker-1 is there" in processes.said)
    processes.join(2)
    summary = ended(processes)
    assert processes.workers[1].wait() == 1
    assert "StorageError SW-S101: could not write full" in processes.told(1)
    assert "No space left on device" in processes.told(1)
    assert ("worker-1", "disk") in [(each["worker"], each["kind"]) for each in summary["failures"]]
    assert (summary["weights_root"], summary["verdicts"]) == (weights_root(processes.folder / "here", settings), [])


def test_the_initiators_disk_is_full_and_it_goes_on_with_the_same_cut_and_weights(processes: Processes) -> None:
    settings = [*SMALL, "run.steps=8", "checkpoint.every_steps=2", "model.layers=9"]
    plan = processes.folder / "run" / "plan.json"
    processes.train(*settings, fresh=True)
    processes.join(1, 2)
    processes.wait_for(lambda: processes.steps >= 3)
    before = json.loads(plan.read_text())
    assert {name: claim["speed"] > 0 for name, claim in before["joined"].items()} == {
        "worker-1": True,
        "worker-2": True,
    }
    assert all(claim["memory_bytes"] > 0 for claim in before["joined"].values())
    assert all(reason in processes.said for reason in before["reasons"])
    assert len(before["reasons"]) == 2
    assert processes.training
    written = (processes.folder / "run" / "ledger.sqlite").stat().st_size
    resource.prlimit(processes.training.pid, resource.RLIMIT_FSIZE, (written, resource.RLIM_INFINITY))
    assert processes.end() == 1, processes.said
    assert "StorageError SW-S101: could not write" in processes.said
    assert not list((processes.folder / "run").rglob("*.partial"))
    processes.resume()
    summary = ended(processes)
    after = json.loads(plan.read_text())
    assert (after["cut"], set(after["joined"])) == (before["cut"], {"worker-1", "worker-2"})
    assert summary["weights_root"] == weights_root(processes.folder / "here", settings)
    assert [worker.wait() for worker in processes.workers.values()] == [0, 0]
    assert verify_ledger(processes.folder / "run").steps == 8
