"""A run from one command: what it leaves, what it says, and that the same run gives the same weights."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TINY, overrides, shieldwall
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from shieldwall import Config, Summary, train
from shieldwall.core.lines import read_lines
from shieldwall.data import make_blocks, read_corpus


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    result = shieldwall("train", "--run", folder, *overrides())
    assert result.code == 0, result.err
    return folder


def summary_of(folder: Path) -> Summary:
    return Summary.read(folder / "summary.json")


def root_by_hand(folder: Path) -> str:
    """The contract's root, written here from its text alone."""
    tensors = {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        for text in (name, str(tensor.dtype).removeprefix("torch."), ",".join(map(str, tensor.shape))):
            digest.update(struct.pack(">I", len(text.encode())) + text.encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def test_the_folder_holds_what_the_contract_names(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.toml",
        "inputs.json", "plan.json", "initial", "metrics.jsonl", "trace.jsonl", "checkpoints", "model", "summary.json",
        "run.lock", "ledger.sqlite", "private",
    }  # fmt: skip
    summary = json.loads((finished / "summary.json").read_text())
    assert list(summary) == [
        "steps", "train_loss", "eval_perplexity", "tokens_per_second", "wall_seconds", "weights_root",
        "attacks_fired", "alerts", "verdicts", "false_accusations", "steps_lost", "micro_batches_rerun", "failures",
        "config_root",
    ]  # fmt: skip
    assert summary["steps"] == 6
    assert summary["attacks_fired"] is None
    config = Config.parse(tomllib.loads((finished / "config.toml").read_text()), "config.toml")
    assert config.root() == summary["config_root"]
    assert config.run.name == "one"


def test_every_step_has_a_line_of_metrics(finished: Path) -> None:
    lines = read_lines(finished / "metrics.jsonl").lines
    assert [line["step"] for line in lines] == list(range(6))
    assert all({"loss", "tokens_per_second", "seconds", "alerts", "gradient_norm"} <= line.keys() for line in lines)
    assert [line["step"] for line in lines if "eval_perplexity" in line] == [2, 5]


def test_an_independent_script_recomputes_the_weights_root(finished: Path) -> None:
    assert root_by_hand(finished / "model") == summary_of(finished).weights_root


def test_transformers_loads_the_model_and_finds_the_reported_perplexity(finished: Path) -> None:
    model, report = AutoModelForCausalLM.from_pretrained(finished / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    blocks = make_blocks(read_corpus("pydoc"), tokenizer, 16, 0.1, 8)
    with torch.no_grad():
        losses = [float(model.eval()(input_ids=row[None], labels=row[None]).loss) for row in blocks.eval.tokens_NT]
    assert math.exp(sum(losses) / len(losses)) == pytest.approx(summary_of(finished).eval_perplexity, rel=1e-4)


def test_eval_repeats_the_reported_perplexity(finished: Path) -> None:
    expected = summary_of(finished).eval_perplexity
    for place in (finished, finished / "model", finished / "checkpoints" / "step-6"):
        found = shieldwall("eval", place, "--data", "pydoc", "--json").json()
        assert found["perplexity"] == pytest.approx(expected, rel=1e-5)
        assert (found["blocks"], found["block_tokens"], found["split"]) == (8, 16, "eval")
    assert "perplexity" in shieldwall("eval", finished, "--split", "all", "--blocks", "4").out
    assert shieldwall("eval", finished, "--split", "train", "--json").json()["perplexity"] != expected


def test_the_same_run_twice_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    again = train(Config.load(None, TINY), folder=tmp_path / "again").summary
    first = summary_of(finished)
    assert again.weights_root == first.weights_root
    assert again.config_root == first.config_root
    assert again.eval_perplexity == first.eval_perplexity


@pytest.mark.parametrize(
    "setting", ["pipeline.stages=3", "pipeline.schedule=1f1b", "pipeline.workers=2", "pipeline.cut=[1,1,1,1,1,1]"]
)
def test_the_cut_and_the_schedule_do_not_change_the_weights(finished: Path, tmp_path: Path, setting: str) -> None:
    other = train(Config.load(None, [*TINY, setting]), folder=tmp_path / "other").summary
    assert other.weights_root == summary_of(finished).weights_root


def test_another_seed_changes_the_weights(finished: Path, tmp_path: Path) -> None:
    other = train(Config.load(None, [*TINY, "run.seed=1"]), folder=tmp_path / "other").summary
    assert other.weights_root != summary_of(finished).weights_root


def test_a_finished_model_is_trained_on_from_its_folder(finished: Path, tmp_path: Path) -> None:
    """A local folder is a model like any other; dropout can be set on it."""
    settings = [*TINY, f"model.name={finished / 'model'}", "model.dropout=0.1", "run.steps=2"]
    result = train(Config.load(None, settings), folder=tmp_path / "tuned")
    assert not (tmp_path / "tuned" / "initial").exists()
    config = json.loads((tmp_path / "tuned" / "model" / "config.json").read_text())
    assert config["resid_pdrop"] == 0.1
    assert result.summary.weights_root != summary_of(finished).weights_root


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    settings = [
        "run.threads=1",
        "run.steps=36",
        "model.width=64",
        "model.layers=4",
        "pipeline.stages=4",
        "data.block_tokens=32",
        "optimizer.learning_rate=0.005",
        "optimizer.warmup_steps=3",
        "evaluation.every_steps=0",
        "checkpoint.every_steps=0",
    ]
    train(Config.load(None, settings), folder=tmp_path / "run")
    losses = [line["loss"] for line in read_lines(tmp_path / "run" / "metrics.jsonl").lines]
    assert sum(losses[-5:]) / 5 < losses[0] - 1.5
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_early_stopping_exports_the_best_weights(tmp_path: Path) -> None:
    """A rate that ruins the model: the first evaluation stays the best, two worse ones end the run."""
    settings = [
        *TINY,
        "run.steps=40",
        "evaluation.every_steps=2",
        "evaluation.patience=2",
        "evaluation.export=best",
        "optimizer.learning_rate=1.0",
        "optimizer.clip_norm=0",
        "optimizer.schedule=constant",
    ]
    result = train(Config.load(None, settings), folder=tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "metrics.jsonl").lines
    evaluated = {line["step"] + 1: line["eval_perplexity"] for line in lines if "eval_perplexity" in line}
    best = min(evaluated, key=lambda step: evaluated[step])
    assert result.summary.steps == best + 4 < 40
    assert result.summary.eval_perplexity == evaluated[best]
    assert (tmp_path / "run" / "checkpoints" / f"step-{best}").exists()
    found = shieldwall("eval", tmp_path / "run" / "model", "--json").json()
    assert found["perplexity"] == pytest.approx(evaluated[best], rel=1e-4)


def test_old_checkpoints_go_and_the_newest_stay(finished: Path) -> None:
    state = json.loads((finished / "checkpoints" / "step-6" / "state.json").read_text())
    names = {path.name for path in (finished / "checkpoints").iterdir()}
    assert {"step-4", "step-6"} <= names
    assert names <= {"step-4", "step-6", f"step-{state['progress']['best_step']}"}


def test_a_program_can_read_the_result(tmp_path: Path) -> None:
    result = shieldwall("train", "--json", "--run", tmp_path / "run", *overrides("run.steps=1"))
    assert result.code == 0
    assert result.json() == json.loads((tmp_path / "run" / "summary.json").read_text())


def test_progress_is_told_where_no_terminal_is(tmp_path: Path) -> None:
    result = shieldwall("train", "--run", tmp_path / "run", *overrides("run.steps=2"))
    assert "step 1/2  loss " in result.err
    assert "tokens/s  alerts 0" in result.err
    assert "memory about" in result.err
    assert "arithmetic class: device=cpu" in result.err
    assert "trained 2 steps" in result.out


def test_config_init_is_the_default_configuration() -> None:
    text = shieldwall("config", "init").out
    assert Config.parse(tomllib.loads(text), "init") == Config()


def _idle_share(numbers: dict[str, Any]) -> float:
    """Of hosts with a machine each: what they do not need for their passes, whatever these take on this machine."""
    seconds = [sum(both) for both in zip(numbers["forward_seconds"], numbers["backward_seconds"], strict=True)]
    duties = [stage for held in (numbers["hosts"], numbers["duplicates"]) for each in held.values() for stage in each]
    busy_s = numbers["micro_batches"] * sum(seconds[stage] for stage in duties)
    return float(1 - busy_s / (len(numbers["hosts"]) * numbers["spread"]["step_seconds"]))


def test_plan_prints_grid_numbers_and_picture(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    shown = shieldwall("plan", "--png", picture, *overrides())
    assert "stage 0  initiator" in shown.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    numbers = shieldwall(
        "plan", "--set", "pipeline.stages=6", "--set", "pipeline.micro_batches=4", "--json", *overrides()
    ).json()
    assert numbers["bubble"] == 0.5556
    assert numbers["step_seconds"] > 0
    assert 0 < numbers["step_seconds_unchecked"] < numbers["step_seconds"]
    assert numbers["when"] == "before_commit"
    assert numbers["duplicates"] == {
        "initiator": [4], "worker-1": [], "worker-2": [1], "worker-3": [2], "worker-4": [3]
    }  # fmt: skip
    assert "duplicates          1 at worker-2, 2 at worker-3, 3 at worker-4, 4 at initiator" in shown.out
    size = numbers["traffic"]["between"]["bytes"] // numbers["traffic"]["between"]["tensors"]
    assert numbers["traffic"] == {
        way: {"tensors": count, "bytes": count * size} for way, count in (("up", 12), ("down", 12), ("between", 32))
    }
    assert "12 to the initiator (" in shown.out
    free = shieldwall("plan", "--json", *overrides("verify.policy=none")).json()
    assert free["step_seconds_unchecked"] == free["step_seconds"]
    assert free["when"] is None
    assert set(numbers["memory_bytes"]) == {"initiator", *(f"worker-{n}" for n in range(1, 5))}
    assert 0.0 <= numbers["bubble_predicted"] < 0.01
    assert numbers["spread"]["bubble_predicted"] == pytest.approx(_idle_share(numbers))


def test_plan_says_what_passes_the_initiator_of_a_star() -> None:
    """Tensors of float32: micro-batch times row times width of four bytes each."""
    settings = overrides("pipeline.topology=star", "pipeline.stages=6", "pipeline.micro_batches=4")
    config = Config.load(None, TINY)
    numbers = shieldwall("plan", "--json", *settings).json()
    size = config.micro_batch_size * config.data.block_tokens * config.model.width * 4
    assert numbers["topology"] == numbers["plan"]["topology"] == "star"
    assert numbers["traffic"] == {
        way: {"tensors": count, "bytes": count * size} for way, count in (("up", 32), ("down", 44), ("between", 0))
    }
    shown = shieldwall("plan", *settings).out
    assert "tensors of a step   32 to the initiator (" in shown
    assert "0 from worker to worker (0 B)" in shown
    assert "every tensor passes the server" in shown
