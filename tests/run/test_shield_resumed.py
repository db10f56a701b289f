"""Attacked runs that are stopped or killed, and go on: the same weights, one ledger, nobody falsely accused."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from attacked import LIAR, SMALL, culprits, run, write_config
from commands import finish, shieldwall, start

from shieldwall import Summary
from shieldwall.core.lines import read_lines

LONGER = [*SMALL, "run.steps=8", "checkpoint.every_steps=1", "evaluation.every_steps=4"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return run(tmp_path_factory.mktemp("runs") / "clean", [], base=LONGER)


@pytest.mark.parametrize(
    ("number", "settings", "attack"),
    [
        (signal.SIGINT, ["respond.ban=false"], {**LIAR, "rate": 0.5}),
        (signal.SIGKILL, ["respond.ban=false"], {"kind": "gaussian", "stage": 3, "rate": 0.5}),
        (signal.SIGKILL, ["pipeline.spares=1"], LIAR),
    ],
    ids=["stopped", "killed", "expelled and killed"],
)
def test_an_attacked_run_goes_on_to_the_clean_weights(
    number: signal.Signals, settings: list[str], attack: dict[str, Any], clean: Summary, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = write_config(tmp_path / "run.toml", [attack], *settings, base=LONGER)
    process, pause = start("train", config, "--run", folder), Event()
    while not (folder / "checkpoints" / "step-3").exists() and process.poll() is None:
        pause.wait(0.001)
    process.send_signal(number)
    assert finish(process).code == (130 if number is signal.SIGINT else -signal.SIGKILL)
    assert shieldwall("ledger", "verify", folder).code == 3
    assert shieldwall("ledger", "verify", folder, "--allow-open").code == 0

    resumed = shieldwall("train", "--run", folder, "--resume")
    assert resumed.code == 0, resumed.err
    summary = Summary.read(folder / "summary.json")
    assert culprits(summary) == {f"worker-{attack['stage']}"}
    assert summary.attacks_fired
    assert summary.false_accusations == 0
    assert summary.weights_root == clean.weights_root
    assert summary.eval_perplexity == clean.eval_perplexity
    assert [line["step"] for line in read_lines(folder / "metrics.jsonl").lines] == list(range(8))
    verified = shieldwall("ledger", "verify", folder, "--json")
    assert verified.code == 0, verified.err
    found = verified.json()
    assert (found["steps"], found["closed"]) == (8, True)
    assert {row["culprit"] for row in found["verdicts"]} == culprits(summary)


def test_who_was_expelled_stays_away_from_the_resumed_run(clean: Summary, tmp_path: Path) -> None:
    """Story: each resumption began with the workers of the plan, so the liar was let in again, and lied again."""
    folder = tmp_path / "run"
    first = run(folder, [LIAR], "pipeline.spares=1", base=LONGER)
    (folder / "summary.json").unlink()
    for name in ("ledger.sqlite", "checkpoints/step-8"):
        (folder / name).rename(tmp_path / Path(name).name)
    process = shieldwall("train", "--run", folder, "--resume")
    assert process.code == 0, process.err
    assert "worker-2 is expelled; worker-5 takes over what it held" in process.err
    second = Summary.read(folder / "summary.json")
    assert second.verdicts == first.verdicts
    assert second.attacks_fired == first.attacks_fired
    assert second.weights_root == clean.weights_root
