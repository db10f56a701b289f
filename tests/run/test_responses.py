"""Whole runs that skip or restart: they end, their ledger holds, they are told in full, and they resume."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from attacked import culprits, run, write_config
from commands import finish, shieldwall, start, wait_for

from shieldwall.verify.ledger import verify_ledger
from shieldwall.verify.ledger.chain import read_statement
from shieldwall.verify.ledger.file import open_ledger
from shieldwall.verify.ledger.records import ViewRecord

TRANSIENT: dict[str, Any] = {"kind": "sign_flip", "stage": "random", "rate": 0.7, "seed": 4, "each_attempt": True}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_skip(tmp_path: Path, direction: str) -> None:
    folder = tmp_path / "run"
    summary = run(folder, [{**TRANSIENT, "direction": direction}], 'respond.policy="skip"')
    assert summary.attacks_fired
    assert summary.false_accusations == 0
    struck = [line for line in lines(folder) if line.get("bypassed")]
    assert struck
    for line in struck:
        assert line["attempts_abandoned"] >= 1
        assert 0 < len(line["bypassed"]) <= 4
    assert verify_ledger(folder).steps == summary.steps
    with open_ledger(folder) as ledger:
        views = [read_statement(row) for row in ledger.all_of(ViewRecord.kind)]
    assert any(view.bypassed for view in views)
    assert not views[-1].still


def test_restart_ends_with_the_clean_weights(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean", [])
    attacked = run(tmp_path / "run", [TRANSIENT], 'respond.policy="restart"', "respond.attempts=50")
    assert attacked.attacks_fired
    assert attacked.weights_root == clean.weights_root
    assert attacked.micro_batches_rerun > 0
    assert verify_ledger(tmp_path / "run").steps == attacked.steps


def test_who_is_banned_spoils_one_attempt_alone(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean", [])
    liar = {"kind": "sign_flip", "stage": 2}
    attacked = run(tmp_path / "run", [liar], 'respond.policy="restart"')
    assert attacked.weights_root == clean.weights_root
    assert culprits(attacked) == {"worker-2"}
    assert [line.get("attempts_abandoned", 0) for line in lines(tmp_path / "run")] == [1, 0, 0, 0]


def test_skip_without_an_attack_changes_nothing(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean", [])
    assert run(tmp_path / "run", [], 'respond.policy="skip"').weights_root == clean.weights_root
    assert not any("attempts_abandoned" in line for line in lines(tmp_path / "run"))


def test_a_run_that_skips_and_is_killed_ends_with_the_same_weights(tmp_path: Path) -> None:
    liar = {"kind": "sign_flip", "stage": "random", "rate": 0.6, "seed": 4}
    settings = ['respond.policy="skip"', "checkpoint.every_steps=1", "run.steps=8"]
    whole = run(tmp_path / "whole", [liar], *settings)
    folder = tmp_path / "run"
    process = start("train", write_config(tmp_path / "c.toml", [liar], *settings), "--run", folder)
    wait_for(process, (folder / "checkpoints" / "step-3").exists)
    process.send_signal(signal.SIGKILL)
    assert finish(process).code == -signal.SIGKILL
    resumed = shieldwall("train", "--run", folder, "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json()["weights_root"] == whole.weights_root
    assert verify_ledger(folder).steps == 8


def test_attempts_are_at_least_two() -> None:
    result = shieldwall("plan", "--set", "respond.attempts=1")
    assert result.code == 2
    assert "respond.attempts" in result.err
