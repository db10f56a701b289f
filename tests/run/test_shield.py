"""Runs whose workers lie: who is named, what it costs, and that the weights are those of a run without the liar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attacked import LIAR, culprits, run, write_config
from commands import shieldwall
from safetensors.torch import load_file

from shieldwall import Summary
from shieldwall.core.lines import read_lines


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """The twin whose workers are honest."""
    return run(tmp_path_factory.mktemp("runs") / "clean", [])


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Weights and moments of a checkpoint."""
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def evaluations(folder: Path) -> list[float]:
    lines = read_lines(folder / "metrics.jsonl").lines
    return [line["eval_perplexity"] for line in lines if "eval_perplexity" in line]


def test_the_clean_twin_is_silent_and_trains_what_an_unchecked_run_trains(clean: Summary, tmp_path: Path) -> None:
    assert (clean.alerts, clean.verdicts, clean.micro_batches_rerun, clean.steps_lost) == (0, [], 0, 0)
    assert (clean.attacks_fired, clean.false_accusations) == (None, None)
    unchecked = run(tmp_path / "unchecked", [], "verify.policy=none")
    assert unchecked.weights_root == clean.weights_root
    assert unchecked.eval_perplexity == clean.eval_perplexity
    assert not (tmp_path / "unchecked" / "ledger.sqlite").exists()


LIARS: list[tuple[dict[str, Any], str]] = [
    ({**LIAR, "rate": 1.0}, "worker-2"),
    ({**LIAR, "rate": 0.5}, "worker-2"),
    ({"kind": "gaussian", "stage": "worker-4", "rate": 0.5, "direction": "backward"}, "worker-4"),
    ({"kind": "wrong_update", "stage": 3, "from_step": 1}, "worker-3"),
    ({"kind": "false_accusation", "stage": "worker-3", "rate": 0.5}, "worker-3"),
]


@pytest.mark.parametrize("when", ["before_use", "auto"])
@pytest.mark.parametrize(("attack", "liar"), LIARS, ids=lambda part: str(part) if isinstance(part, str) else None)
def test_exactly_the_liar_is_named_and_the_weights_are_the_clean_ones(
    attack: dict[str, Any], liar: str, when: str, clean: Summary, tmp_path: Path
) -> None:
    attacked = run(tmp_path / "attacked", [attack], f"verify.when={when}")
    assert attacked.attacks_fired is not None
    assert attacked.attacks_fired > 0
    assert culprits(attacked) == {liar}
    assert all(row["caught_in_step"] == row["step"] for row in attacked.verdicts)
    assert attacked.false_accusations == 0
    assert attacked.steps_lost == 0
    assert attacked.alerts > 0
    assert attacked.weights_root == clean.weights_root
    assert attacked.eval_perplexity == clean.eval_perplexity
    if when == "before_use":
        assert attacked.micro_batches_rerun == 0


def test_what_a_liar_costs_is_counted_step_by_step(tmp_path: Path, clean: Summary) -> None:
    """The lines of metrics.jsonl add up to what summary.json says."""
    folder = tmp_path / "attacked"
    attacked = run(folder, [{**LIAR, "from_step": 1}])
    lines = read_lines(folder / "metrics.jsonl").lines
    assert [line["alerts"] > 0 for line in lines] == [False, True, False, False]
    assert sum(line["alerts"] for line in lines) == attacked.alerts
    assert sum(line["attacks_fired"] for line in lines) == attacked.attacks_fired
    assert [row for line in lines for row in line.get("verdicts", [])] == attacked.verdicts
    assert lines[1]["micro_batches_rerun"] == attacked.micro_batches_rerun == 4
    assert evaluations(folder)[-1] == clean.eval_perplexity


def test_a_transient_attacker_is_repaired_and_nobody_is_expelled(clean: Summary, tmp_path: Path) -> None:
    """The paper's attacker takes another worker over in each step; to expel each of them would leave nobody."""
    config = write_config(tmp_path / "random.toml", [{"kind": "scale", "stage": "random", "rate": 1.0, "seed": 3}])
    result = shieldwall("train", config, "--run", tmp_path / "run")
    assert result.code == 0, result.err
    summary = Summary.read(tmp_path / "run" / "summary.json")
    assert len(culprits(summary)) > 1
    assert "is expelled" not in result.err
    assert "steps: loss" in result.out
    assert f"{summary.alerts} alerts, {len(summary.verdicts)} verdicts; found guilty: worker-" in result.out
    assert summary.false_accusations == 0
    assert summary.weights_root == clean.weights_root
    assert {row["step"] for row in summary.verdicts} == {0, 1, 2, 3, 4}  # in step 4 only the last evaluation
    assert all(row["caught_in_step"] == row["step"] for row in summary.verdicts)


@pytest.mark.parametrize("setting", ["verify.policy=none", "respond.policy=none"])
def test_the_same_attack_changes_the_weights_where_nothing_is_repaired(
    setting: str, clean: Summary, tmp_path: Path
) -> None:
    attacked = run(tmp_path / "attacked", [{**LIAR, "kind": "scale", "factor": 3.0}], setting, "respond.ban=false")
    assert attacked.attacks_fired
    assert attacked.weights_root != clean.weights_root
    if setting == "verify.policy=none":
        assert attacked.verdicts == []
    else:
        assert culprits(attacked) == {"worker-2"}
        assert attacked.false_accusations == 0


@pytest.mark.parametrize(("schedule", "export"), [("gpipe", "last"), ("1f1b", "best")])
def test_evaluations_under_attack_find_the_clean_perplexity(schedule: str, export: str, tmp_path: Path) -> None:
    settings = ["evaluation.every_steps=1", f"evaluation.export={export}", f"pipeline.schedule={schedule}"]
    honest = run(tmp_path / "clean", [], *settings)
    attacked = run(tmp_path / "attacked", [{**LIAR, "rate": 0.5}], *settings, "respond.ban=false")
    assert "evaluation" in {row["direction"] for row in attacked.verdicts}
    assert evaluations(tmp_path / "attacked") == evaluations(tmp_path / "clean")
    assert attacked.eval_perplexity == honest.eval_perplexity
    assert attacked.weights_root == honest.weights_root


@pytest.mark.parametrize("target", ["served", "parameters", "moments"])
def test_poisoned_weights_reach_neither_checkpoint_nor_model(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "attacked"
    honest = run(tmp_path / "clean", [])
    attacked = run(folder, [{"kind": "own_weights", "target": target, "stage": 2}], "respond.ban=false")
    assert culprits(attacked) == {"worker-2"}
    assert attacked.weights_root == honest.weights_root
    found = shieldwall("eval", folder, "--json")
    assert found.code == 0, found.err
    assert found.json()["perplexity"] == pytest.approx(honest.eval_perplexity, rel=1e-5)
    kept = [tensors_in(tmp_path / name / "checkpoints" / "step-4") for name in ("clean", "attacked")]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in kept[0].items())
