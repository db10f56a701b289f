"""Which adapters, and which settings of them, are refused, before anything is trained or run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from adapter_runs import change_json, train_adapters
from commands import overrides, shieldwall, start
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_adapters(tmp_path_factory.mktemp("runs") / "adapted")


@pytest.mark.parametrize("how", ["train", "eval", "an adapter's base"])
def test_code_that_lies_beside_a_model_is_never_run(
    adapted: Path, warm_programs: Path, tmp_path: Path, how: str
) -> None:
    """Not even offered: a `y` that waits on standard input changes nothing."""
    evil, ran = tmp_path / "evil", tmp_path / "ran"
    evil.mkdir()
    (evil / "code.py").write_text(f"open({str(ran)!r}, 'w')\n")
    names = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    (evil / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": names}))
    if how == "train":
        command: list[str | Path] = ["train", "--run", tmp_path / "run", "--set", f"model.name={evil}"]
    elif how == "eval":
        command = ["eval", evil]
    else:
        shutil.copytree(adapted / "adapter", tmp_path / "adapter")
        change_json(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=str(evil))
        command = ["eval", tmp_path / "adapter"]
    process = start(*command, warm=warm_programs, stdin=subprocess.PIPE)
    out, err = process.communicate("y\n" * 9, timeout=120)
    assert process.returncode == 2
    assert "Python code of its own, which is never run" in err
    assert "[y/N]" not in out + err
    assert not ran.exists()


def refused(tmp_path: Path, *settings: str) -> str:
    result = shieldwall("train", "--run", tmp_path / "refused", *overrides(*settings))
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "refused").exists()
    return result.err


def test_adapters_of_a_wider_model_are_refused(adapted: Path, tmp_path: Path) -> None:
    said = refused(tmp_path, f"model.adapter={adapted / 'adapter'}", "model.width=32")
    assert "SW-M134" in said
    assert "adapter_model.safetensors, transformer.h.0.attn.c_attn.lora_A.weight" in said
    assert "expected  [4, 32]" in said
    assert "got       [4, 16]" in said


def test_adapters_of_another_family_are_refused(adapted: Path, tmp_path: Path) -> None:
    said = refused(tmp_path, f"model.adapter={adapted / 'adapter'}", "model.name=tiny:llama")
    assert "SW-M130" in said
    assert "c_attn" in said


def test_adapters_of_a_model_of_the_same_shape_are_refused(adapted: Path, tmp_path: Path) -> None:
    """The shapes fit; the weights that the adapters were trained on are others."""
    said = refused(tmp_path, f"model.adapter={adapted / 'adapter'}", "run.seed=1")
    assert "SW-M133" in said
    assert f"got       {(adapted / 'initial').resolve()}" in said


def test_adapters_that_name_another_model_are_refused_and_a_moved_one_is_not(adapted: Path, tmp_path: Path) -> None:
    """The name is all there is to go by where the base is not at hand; only its last part is looked at."""
    adapter, moved = tmp_path / "adapter", tmp_path / "small-gpt2"
    shutil.copytree(adapted / "adapter", adapter)
    shutil.copytree(adapted / "initial", moved)
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name, code in (("somebody/another-gpt2", 2), ("somebody/small-gpt2", 0)):
        (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
        settings = [f"model.name={moved}", f"model.adapter={adapter}", "run.steps=1"]
        result = shieldwall("train", "--run", tmp_path / f"run-{code}", *overrides(*settings))
        assert result.code == code, result.err
        assert ("SW-M133" in result.err) == bool(code)


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        ("no folder", "SW-M132", "no readable adapter_config.json"),
        ("garbled", "SW-M132", "is not what peft writes"),
        ("a list", "SW-M132", "no JSON object"),
        ("pickled", "SW-M132", "pickled weights are never loaded"),
        ("cut short", "SW-K102", "adapter_model.safetensors"),
        ("a tensor missing", "SW-M134", "no such tensor"),
        ("NaN", "SW-M132", "finite floating-point numbers"),
        ("integers", "SW-M132", "torch.int8"),
    ],
)
def test_damaged_adapters_are_refused(adapted: Path, tmp_path: Path, damage: str, code: str, words: str) -> None:
    folder = tmp_path / "adapter"
    if damage != "no folder":
        shutil.copytree(adapted / "adapter", folder)
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if damage in ("garbled", "a list"):
        config.write_text("{" if damage == "garbled" else "[]")
    elif damage == "pickled":
        weights.rename(folder / "adapter_model.bin")
    elif damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:200])
    elif damage in ("a tensor missing", "NaN", "integers"):
        tensors = load_file(weights)
        first = tensors.pop(min(tensors))
        if damage != "a tensor missing":
            other = first * float("nan") if damage == "NaN" else first.to(torch.int8)
            tensors[min(load_file(weights))] = other
        save_file(tensors, weights)
    said = refused(tmp_path, f"model.adapter={folder}")
    assert code in said
    assert words in said


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("peft_type", "IA3", "SW-M132"),
        ("r", "4", "SW-M132"),
        ("r", 0, "SW-M132"),
        ("r", None, "SW-M132"),
        ("lora_alpha", "x", "SW-M132"),
        ("lora_dropout", 2.0, "SW-M132"),
        ("target_modules", 7, "SW-M132"),
        ("target_modules", "(", "SW-M130"),
        ("rank_pattern", [1], "SW-M132"),
        ("bias", "all", "SW-M132"),
        ("init_lora_weights", "pissa", "SW-M132"),
        ("use_dora", True, "SW-M131"),
        ("alora_invocation_tokens", [1, 2], "SW-M131"),
        ("velora_config", {"rank": 1}, "SW-M131"),
        ("use_qalora", True, "SW-M131"),
        ("modules_to_save", ["wte"], "SW-M131"),
        ("target_parameters", ["c_attn.weight"], "SW-M131"),
        ("an_option_of_tomorrow", 1, "SW-M131"),
    ],
)
def test_what_is_not_plain_lora_is_refused(adapted: Path, tmp_path: Path, field: str, value: object, code: str) -> None:
    """By the name of the field, before anything is trained: passed over, it would change what the adapters mean."""
    shutil.copytree(adapted / "adapter", tmp_path / "adapter")
    change_json(tmp_path / "adapter" / "adapter_config.json", **{field: value})
    said = refused(tmp_path, f"model.adapter={tmp_path / 'adapter'}")
    assert code in said
    assert field in said


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (['model.lora_targets=["c_attn"]'], "lora_targets"),
        (["model.lora_dropout=0.5"], "lora_dropout"),
        (["model.lora_alpha=32.0"], "lora_alpha"),
        (["model.lora_rank=9", "model.adapter=ADAPTER"], "lora_rank"),
        (["model.lora_alpha=99.0", "model.adapter=ADAPTER"], "lora_alpha"),
        (['model.lora_targets=["c_fc"]', "model.adapter=ADAPTER"], "lora_targets"),
        (["model.lora_rank=2", 'model.lora_targets=["all-linear", "c_attn"]'], "lora_targets"),
    ],
)
def test_settings_without_effect_are_refused(adapted: Path, tmp_path: Path, settings: list[str], key: str) -> None:
    said = refused(tmp_path, *(setting.replace("ADAPTER", str(adapted / "adapter")) for setting in settings))
    assert "SW-C105" in said
    assert f"model.{key}" in said


def test_an_adapters_folder_is_no_model(adapted: Path, tmp_path: Path) -> None:
    for folder in (adapted / "adapter", adapted / "checkpoints" / "step-6"):
        said = refused(tmp_path, f"model.name={folder}")
        assert "SW-M105" in said
        assert "model.adapter to this folder" in said


def test_targets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for targets in ('["q_proj"]', '["c_attn", "q_proj"]'):
        said = refused(tmp_path, "model.lora_rank=2", f"model.lora_targets={targets}")
        assert "SW-M130" in said
        assert "q_proj" in said


def test_targets_outside_the_layers_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "model.lora_rank=2", 'model.lora_targets=["c_attn", "wte"]')
    assert "SW-M131" in said
    assert "wte" in said
