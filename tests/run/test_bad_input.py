"""Bad input: a clear error of our own tree, the right exit code, and nothing half written."""

from __future__ import annotations

import asyncio
import math
import resource
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from commands import TINY, finish, overrides, shieldwall, start, wait_for
from safetensors.torch import load_file, save_file

from conftest import MakeModel
from shieldwall import Config, ConfigError, Hook, InputError, NonFiniteError, PlanError, train
from shieldwall.config import ModelSection
from shieldwall.core.hooks import Border
from shieldwall.recovery.checkpoints import Checkpoints
from shieldwall.run import memory
from shieldwall.run.model import _refuse_types


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("run.stepz=3", "SW-C101", 'did you mean "run.steps"?'),
        ("runn.steps=3", "SW-C101", 'did you mean "run"?'),
        ("pipeline.stages=zero", "SW-C102", "pipeline.stages has a value that does not fit"),
        ("pipeline.stages=0", "SW-C102", "greater than or equal to 1"),
        ("verify.policy=twice", "SW-C102", "one of 'duplicate', 'none'"),
        ("optimizer.learning_rate=nan", "SW-C102", "finite number"),
        ("transport.compression=zip", "SW-C102", "one of 'none', 'bf16', 'int8'"),
        ("steps=3", "SW-C104", "section.key=value"),
        ("pipeline.batch_size=7", "SW-C105", "a multiple of pipeline.micro_batches = 4"),
        ("pipeline.workers=9", "SW-C105", "at most 4"),
        ("model.heads=3", "SW-C105", "the heads do not fit the width"),
        ("run.device=cuda:99", "SW-C106", "the device is not there"),
        ("pipeline.schedule=zigzag", "SW-P101", "zigzag"),
        ("pipeline.stages=7", "SW-M110", "6 layers cannot be cut into 7 stages"),
        ("pipeline.cut=[1,2]", "SW-M111", "the cut does not fit the model"),
        ("model.name=tiny:gpt7", "SW-M101", "bloom, gemma, gpt2, gpt_neox, llama, mistral, opt, qwen2, qwen3"),
        ("model.name=no/such-model", "SW-M103", "was not found"),
        ("data.corpus=text:/no/such/file", "SW-D103", "/no/such/file"),
        ("data.corpus=novel", "SW-D101", "pydoc"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, code: str, said: str, tmp_path: Path) -> None:
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(setting))
    assert result.code == 2
    assert code in result.err
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("setting", ["pipeline.stages=0", "run.stepz=3", "runn.steps=3"])
def test_an_override_is_named_and_not_the_file_under_it(setting: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[run]\nthreads = 1\n")
    given = shieldwall("train", config, "--run", tmp_path / "run", "--set", setting)
    assert given.code == 2
    assert f"--set {setting}\n" in given.err
    assert str(config) not in given.err
    config.write_text("[pipeline]\nstages = 0\n")
    written = shieldwall("train", config, "--run", tmp_path / "run", "--set", "run.steps=3")
    assert f"pipeline.stages in {config}\n" in written.err


def test_help_pages_are_plain_text() -> None:
    for command in ("eval", "train", "report"):
        assert "\\" not in shieldwall(command, "--help").out
    assert "[required]" in shieldwall("eval", "--help").out


def test_a_refused_run_leaves_no_folder_behind(tmp_path: Path) -> None:
    """So that the corrected command can be given with the same --run."""
    folder = tmp_path / "run"
    assert shieldwall("train", "--run", folder, *overrides("pipeline.stages=7")).code == 2
    assert not folder.exists()
    assert shieldwall("train", "--run", folder, *overrides("run.steps=1")).code == 0


def test_a_run_folder_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    result = shieldwall("train", "--run", folder, *overrides())
    assert result.code == 2
    assert "SW-R101: the run's folder exists already" in result.err
    assert "--resume" in result.err
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_an_unreadable_configuration_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "run.toml"
    broken.write_text("[run\nsteps = 3")
    for path in (broken, tmp_path / "absent.toml"):
        result = shieldwall("train", path)
        assert result.code == 2
        assert "SW-C103: the configuration cannot be read" in result.err
        assert str(path) in result.err


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "SW-D107"), (b"\x00\x01\x02" * 500, "SW-D106"), (b"too short", "SW-D116")],
)
def test_a_corpus_that_is_empty_binary_or_short_is_refused(content: bytes, code: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(content)
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(f"data.corpus=text:{corpus}"))
    assert result.code == 2
    assert code in result.err


def test_a_block_longer_than_the_models_positions_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    settings = [f"model.name={make_model('gpt2')}", "data.block_tokens=65"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 2
    assert "SW-M106: a block is longer than the model's positions" in result.err
    assert "at most 64" in result.err


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert shieldwall("train", "--run", first, *overrides("run.steps=1")).code == 0
    shard = next((first / "model").glob("model-00002*"))
    shard.write_bytes(shard.read_bytes()[:100])
    settings = overrides(f"model.name={first / 'model'}")
    for result in (shieldwall("train", "--run", tmp_path / "run", *settings), shieldwall("eval", first)):
        assert result.code == 2
        assert "SW-K102" in result.err
        assert shard.name in result.err


def test_eval_refuses_what_is_no_model(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        result = shieldwall("eval", place)
        assert result.code == 2
        assert "SW-K107: there is no model in this folder" in result.err


class Breaks(Hook):
    """From one step on, a worker's activations are NaN."""

    def __init__(self, step: int) -> None:
        self._step = step

    async def after_forward(self, border: Border, activation_BTD: torch.Tensor) -> torch.Tensor:
        return activation_BTD * math.nan if border.slot.step >= self._step else activation_BTD


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config = Config.load(None, [*TINY, "evaluation.every_steps=0", "verify.policy=none"])
    whole = train(config, folder=tmp_path / "whole").summary
    with pytest.raises(NonFiniteError, match="stage 2 made an activation") as caught:
        train(config, folder=tmp_path / "run", hooks_of={"worker-2": [Breaks(4)]})
    assert "step 4, micro-batch 0, forward, stage 2, host worker-2" in str(caught.value)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "run" / "model").exists()
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["step-2", "step-4"]
    assert train(folder=tmp_path / "run", resume=True).summary.weights_root == whole.weights_root


def test_a_rate_that_explodes_ends_with_a_clear_error(tmp_path: Path) -> None:
    settings = ["optimizer.kind=sgd", "optimizer.learning_rate=1e30", "optimizer.clip_norm=0"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 1
    assert "SW-N101: stage " in result.err
    assert "lower optimizer.learning_rate" in result.err


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    """The gradients of the step were finite, its update is not: the checkpoint before it stays the newest."""
    settings = ["optimizer.learning_rate=1e200", "checkpoint.every_steps=1", "run.steps=3"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 1
    assert "SW-N102: stage 0 holds weights that are not finite" in result.err
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_pickled_weights_are_not_evaluated(tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert shieldwall("train", "--run", first, *overrides("run.steps=1")).code == 0
    for path in (first / "model").glob("*.safetensors*"):
        path.unlink()
    torch.save({}, first / "model" / "pytorch_model.bin")
    result = shieldwall("eval", first)
    assert result.code == 2
    assert "SW-M104" in result.err
    assert "pickled weights are never loaded" in result.err


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """The operating system itself refuses writes past a limit, once the first checkpoint is whole."""
    folder = tmp_path / "run"
    settings = [
        "run.steps=4",
        "checkpoint.every_steps=2",
        "model.width=64",
        "model.heads=4",
        "evaluation.every_steps=0",
    ]
    whole = train(Config.load(None, [*TINY, *settings]), folder=tmp_path / "whole").summary
    process = start("train", "--run", folder, *overrides("run.steps=4", *settings[1:]))
    try:
        wait_for(process, (folder / "checkpoints" / "step-2").exists)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        ended = finish(process)
    finally:
        process.kill()
    assert ended.code == 1, ended.err
    assert "SW-S101: could not write" in ended.err
    assert "--resume" in ended.err
    assert not list(folder.rglob("*.partial"))
    assert not (folder / "model").exists()
    assert Checkpoints(folder / "checkpoints", 2).steps() == [2]
    resumed = shieldwall("train", "--run", folder, "--resume")
    assert resumed.code == 0, resumed.err
    assert train(folder=folder, resume=True).summary.weights_root == whole.weights_root


def test_a_run_that_cannot_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _: 1_000_000)
    with pytest.raises(PlanError, match=r"SW-P201: the run does not fit into memory") as caught:
        train(Config.load(None, TINY), folder=tmp_path / "run")
    assert "977 KiB" in str(caught.value)
    assert "initiator" in str(caught.value)


def test_input_errors_exit_with_two_and_others_with_one() -> None:
    assert InputError.exit_code == 2
    assert NonFiniteError.exit_code == 1


def test_a_best_model_needs_evaluations(tmp_path: Path) -> None:
    settings = ["evaluation.every_steps=0", "evaluation.export=best"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 2
    assert "SW-C105: without evaluations there is no best one" in result.err


def test_a_second_signal_ends_at_once(warm_programs: Path, tmp_path: Path) -> None:
    """The first signal waits for the end of the step; whoever sends another does not want to wait."""
    settings = overrides("run.steps=100000", "data.eval_blocks=0")
    process = start("train", "--run", tmp_path / "run", *settings, warm=warm_programs)
    wait_for(process, (tmp_path / "run" / "metrics.jsonl").exists)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert finish(process).code in (130, -signal.SIGTERM)


def test_eval_refuses_a_model_that_lacks_a_layer(tmp_path: Path) -> None:
    """Transformers would fill it with random weights and evaluate those."""
    first = tmp_path / "first"
    assert shieldwall("train", "--run", first, *overrides("run.steps=1")).code == 0
    config = first / "model" / "config.json"
    config.write_text(config.read_text().replace('"n_layer": 6', '"n_layer": 7'))
    result = shieldwall("eval", first)
    assert result.code == 2
    assert "SW-K104: the checkpoint lacks a tensor" in result.err


def test_eval_of_broken_weights_gives_no_number(tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert shieldwall("train", "--run", first, *overrides("run.steps=1")).code == 0
    for path in (first / "model").glob("*.safetensors"):
        tensors = load_file(path)
        save_file({name: tensor * math.nan for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    result = shieldwall("eval", first, "--json")
    assert result.code == 1
    assert "SW-N103" in result.err
    assert result.out == ""


def test_a_picture_goes_where_it_can(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "plan.png", tmp_path / "plan.txt"):
        result = shieldwall("plan", "--png", path)
        assert result.code == 2
        assert "SW-C108: the picture cannot be written there" in result.err


def test_a_plan_far_too_large_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for command in (["plan"], ["train", "--run", str(tmp_path / "run")]):
        result = shieldwall(*command, *overrides("pipeline.batch_size=1000000000"))
        assert result.code == 2
        assert "SW-P201: the run does not fit into memory" in result.err
    assert not (tmp_path / "run").exists()


def test_hooks_for_a_host_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="SW-P112"):
        train(Config.load(None, TINY), folder=tmp_path / "run", hooks_of={"wroker-1": [Hook()]})


async def _train_in_a_loop(folder: Path) -> int:
    return train(Config.load(None, [*TINY, "run.steps=1"]), folder=folder).summary.steps


def test_training_works_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    """Notebooks have one."""
    assert asyncio.run(_train_in_a_loop(tmp_path / "run")) == 1


def test_a_device_without_bfloat16_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of an older accelerator, put in its mouth: none is at hand where tests run."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    for section in (ModelSection(dtype="bfloat16"), ModelSection(autocast=True)):
        with pytest.raises(ConfigError, match=r"SW-C109[\s\S]*Tesla T4 has: float32[\s\S]*bfloat16"):
            _refuse_types(section, torch.device("cuda"))
        _refuse_types(section, torch.device("cpu"))
    _refuse_types(ModelSection(), torch.device("cuda"))


def test_a_response_without_checks_is_refused(tmp_path: Path) -> None:
    """It could never act, and a run would look as if it were defended."""
    for policy in ("skip", "restart"):
        settings = overrides(f'respond.policy="{policy}"', "verify.policy=none")
        result = shieldwall("train", "--run", tmp_path / policy, *settings)
        assert result.code == 2
        assert "SW-C105: a response has no effect where nothing is checked" in result.err
        assert not (tmp_path / policy).exists()
