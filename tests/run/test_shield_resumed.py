"""Attacked runs that are stopped or killed, and go on: the same weights, one ledger, nobody falsely accused."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from attacked import LIAR, SMALL, configured, culprits, run, write_config
from commands import finish, shieldwall, start, wait_for

from shieldwall import Hook, Summary, train
from shieldwall.core.hooks import Border
from shieldwall.core.lines import read_lines
from shieldwall.run.folder import RunFolder
from shieldwall.verify.ledger.file import open_ledger

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
        (signal.SIGKILL, ["pipeline.spares=1", "pipeline.topology=star"], LIAR),
        (signal.SIGINT, ["respond.ban=false", "pipeline.topology=star"], {**LIAR, "rate": 0.5}),
    ],
    ids=["stopped", "killed", "expelled and killed", "expelled and killed star", "stopped star"],
)
def test_an_attacked_run_goes_on_to_the_clean_weights(
    number: signal.Signals,
    settings: list[str],
    attack: dict[str, Any],
    clean: Summary,
    warm_programs: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    config = write_config(tmp_path / "run.toml", [attack], *settings, base=LONGER)
    process = start("train", config, "--run", folder, warm=warm_programs)
    wait_for(process, (folder / "checkpoints" / "step-3").exists)
    process.send_signal(number)
    assert finish(process).code == (130 if number is signal.SIGINT else -signal.SIGKILL)
    assert shieldwall("ledger", "verify", folder).code == 3
    assert shieldwall("ledger", "verify", folder, "--allow-open").code == 0

    resumed = shieldwall("train", "--run", folder, "--resume")
    assert resumed.code == 0, resumed.err
    summary = Summary.read(folder / "summary.json")
    assert culprits(summary) == {f"worker-{attack['stage']}"}
    if attack is LIAR:  # expelled in step 0, and not let in again
        assert "is expelled" not in resumed.err  # it was told when it happened
        with open_ledger(folder) as ledger:
            view = ledger.last_of("view")
            assert view is not None
            assert json.loads(view.body)["holders"]["2"] == "worker-5"
        assert {row["step"] for row in summary.verdicts} == {0}
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


class Killed(Exception):  # noqa: N818 (stands for a signal)
    """The process ends here."""


@pytest.mark.parametrize("settings", [["verify.policy=duplicate"], ["verify.policy=none"]])
def test_a_run_that_was_killed_behind_its_last_row_is_over(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: killed between the ledger's closing row and summary.json, a run could neither go on nor be finished."""
    folder = tmp_path / "run"

    def kill(_: RunFolder) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("shieldwall.run.train.publish_summary", kill)
        with pytest.raises(Killed):
            run(folder, [], *settings)
    assert not (folder / "summary.json").exists()
    resumed = shieldwall("train", "--run", folder, "--resume")
    assert resumed.code == 0, resumed.err
    whole = run(tmp_path / "whole", [], *settings)
    assert Summary.read(folder / "summary.json").weights_root == whole.weights_root
    assert shieldwall("eval", folder, "--json").code == 0
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}


class Stops(Hook):
    """The process ends in a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    async def after_forward(self, border: Border, activation_BTD: Any) -> Any:
        if border.slot.step == self._step:
            raise Killed
        return activation_BTD


def test_a_checked_run_keeps_its_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Story: a resumed run was measured and cut anew, and its ledger no longer joined: roots are of stages."""
    folder, settings = tmp_path / "run", configured([], "pipeline.stages=5")
    monkeypatch.setattr("shieldwall.run.planning.balance_cut", lambda *_, **__: [2, 1, 1, 1, 1])
    with pytest.raises(Killed):
        train(settings, folder=folder, hooks_of={"worker-2": [Stops(2)]})
    monkeypatch.setattr("shieldwall.run.planning.balance_cut", lambda *_, **__: [1, 2, 1, 1, 1])
    summary = train(folder=folder, resume=True).summary
    assert json.loads((folder / "plan.json").read_text())["cut"] == [2, 1, 1, 1, 1]
    verified = shieldwall("ledger", "verify", folder)
    assert verified.code == 0, verified.err
    assert summary.weights_root == run(tmp_path / "whole", [], "pipeline.stages=5").weights_root


def test_a_checked_run_does_not_go_on_without_its_ledger(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, [])
    for name in ("summary.json", "ledger.sqlite"):
        (folder / name).unlink()
    result = shieldwall("train", "--run", folder, "--resume")
    assert result.code == 2
    assert "SW-L201: there is no ledger" in result.err
    assert (folder / "checkpoints" / "step-4").exists()
