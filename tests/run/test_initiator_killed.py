"""The initiator killed at the worst moments: the run ends with the same weights, and what was lost is counted."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import TINY, overrides, shieldwall
from processes import Processes

from shieldwall.core.lines import read_lines
from shieldwall.verify.ledger import verify_ledger

STEPS = [
    "pipeline.stages=5",
    "pipeline.micro_batches=2",
    "data.eval_blocks=4",
    "evaluation.every_steps=0",
    "run.steps=8",
    "checkpoint.every_steps=3",
]
"""Three workers, by a draw: one holds stage 1, another stage 2 and the duplicate of 1, the third 3 and that of 2."""


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


@pytest.mark.timeout(600)
def test_in_prepare_in_commit_and_in_the_middle_of_a_checkpoint(processes: Processes, tmp_path: Path) -> None:
    """In prepare nothing is lost, and the workers still have the very states of the checkpoint: nothing is sent. At the
    commit they are ahead of it, and are sent their states. A checkpoint that is not whole counts for nothing."""
    undisturbed = shieldwall("train", "--run", tmp_path / "one", "--json", *overrides(*STEPS)).json()["weights_root"]
    run = processes.folder / "run"

    processes.train_until_killed("prepare", 3, *TINY, *STEPS)
    processes.join(1, 2, 3)
    assert processes.end() == -signal.SIGKILL, processes.said
    said = len(processes.said)
    processes.train_until_killed("commit", 4)
    assert processes.end() == -signal.SIGKILL, processes.said
    again, said = processes.said[said:], len(processes.said)
    assert "resuming from step-3" in again
    kept = re.findall(r"(worker-\d) still has stages? ([\d, ]+): nothing sent", again)
    assert sorted(name for name, _ in kept) == ["worker-1", "worker-2", "worker-3"]
    assert sorted(stages for _, stages in kept) == ["1", "1, 2", "2, 3"]

    processes.train_until_killed("checkpoint", 5)
    assert processes.end() == -signal.SIGKILL, processes.said
    again, said = processes.said[said:], len(processes.said)
    assert "resuming from step-3" in again
    assert not all(f"worker-{number} still has" in again for number in (1, 2, 3))
    assert any(path.name.startswith("step-6") and path.name != "step-6" for path in (run / "checkpoints").iterdir())

    processes.resume()
    assert processes.end() == 0, processes.said
    summary = json.loads((run / "summary.json").read_text())
    assert summary["weights_root"] == undisturbed
    assert (summary["steps"], summary["verdicts"]) == (8, [])
    returns = [(line["from_step"], line["to_step"], line["why"]) for line in read_lines(run / "returns.jsonl").lines]
    assert returns == [(5, 3, "resumed"), (6, 3, "resumed")]
    assert summary["steps_lost"] == 5
    assert verify_ledger(run).replaced_steps == 5
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-6", "step-8"]
    assert all(worker.wait() == 0 for worker in processes.workers.values())
