"""A stopped run of LoRA goes on to the same adapters, and not over another model."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from adapter_runs import LORA, change_json, train_adapters
from commands import TINY
from safetensors.torch import load_file, save_file

from shieldwall import Config, Hook, InputError, Interrupted, train
from shieldwall.core.hooks import Update
from shieldwall.core.messages import StageState


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_adapters(tmp_path_factory.mktemp("runs") / "adapted")


class StopAfter(Hook):
    """Sends this process one signal when a step has committed."""

    def __init__(self, step: int) -> None:
        self._step: int | None = step

    async def after_commit(self, update: Update, state: StageState) -> None:
        if update.step == self._step:
            self._step = None
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("extra", [[], ["model.dtype=bfloat16"], ["model.autocast=true", "model.lora_dropout=0.1"]])
def test_a_stopped_run_goes_on_to_the_same_adapters(tmp_path: Path, extra: list[str]) -> None:
    settings = Config.load(None, [*TINY, *LORA, *extra])
    whole = train(settings, folder=tmp_path / "whole").summary
    with pytest.raises(Interrupted):
        train(settings, folder=tmp_path / "stopped", hooks_of={"initiator": [StopAfter(2)]})
    resumed = train(None, folder=tmp_path / "stopped", resume=True).summary
    assert resumed.weights_root == whole.weights_root
    assert resumed.eval_perplexity == whole.eval_perplexity


def add_one(path: Path) -> None:
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("weights.adapter", "SW-R106"),
        ("configuration.adapter", "SW-R106"),
        ("configuration.model", "SW-R106"),
        ("the base", "SW-M133"),
    ],
)
def test_a_run_does_not_go_on_over_another_model(adapted: Path, tmp_path: Path, what: str, code: str) -> None:
    """No checkpoint holds the base, nor what scales the adapters; who changes it meanwhile is told so."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(adapted / "initial", base)
    shutil.copytree(adapted / "adapter", adapter)
    settings = Config.load(None, [*TINY, f"model.name={base}", f"model.adapter={adapter}", "pipeline.stages=3"])
    with pytest.raises(Interrupted):
        train(settings, folder=tmp_path / "run", hooks_of={"initiator": [StopAfter(1)]})
    if what == "weights.adapter":
        add_one(adapter / "adapter_model.safetensors")
    elif what == "configuration.adapter":
        change_json(adapter / "adapter_config.json", lora_alpha=160)
    elif what == "configuration.model":
        change_json(base / "config.json", layer_norm_epsilon=0.1)
    else:
        add_one(base / "model.safetensors")
    with pytest.raises(InputError, match=code) as caught:
        train(None, folder=tmp_path / "run", resume=True)
    assert code == "SW-M133" or what in str(caught.value)


def test_a_changed_base_of_new_adapters_is_noticed(adapted: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(adapted / "initial", base)
    settings = Config.load(None, [*TINY, *LORA, f"model.name={base}"])
    with pytest.raises(Interrupted):
        train(settings, folder=tmp_path / "run", hooks_of={"initiator": [StopAfter(1)]})
    add_one(base / "model.safetensors")
    with pytest.raises(InputError, match=r"SW-R106[\s\S]*weights\.base"):
        train(None, folder=tmp_path / "run", resume=True)
