"""LoRA from one command: what travels, what is saved, who can load it, and which adapters are refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from commands import TINY, overrides, shieldwall, start
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from shieldwall import Config, Hook, InputError, Interrupted, Summary, train
from shieldwall.core.hooks import Update
from shieldwall.core.messages import StageState

LORA = ["model.lora_rank=4", "pipeline.stages=3", "optimizer.learning_rate=0.01"]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "adapted"
    result = shieldwall("train", "--run", folder, *overrides(*LORA))
    assert result.code == 0, result.err
    return folder


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    tokens_BT = torch.randint(300, (2, 16), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=tokens_BT).logits
    return logits


def test_peft_loads_the_adapter_and_merging_it_gives_the_model(adapted: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(adapted / "initial")
    with_adapter = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(adapted / "initial"), adapted / "adapter"
    )
    merged = AutoModelForCausalLM.from_pretrained(adapted / "model")
    assert not torch.allclose(logits_of(base), logits_of(with_adapter), atol=1e-3)
    assert torch.allclose(logits_of(merged), logits_of(with_adapter), atol=1e-5)
    by_peft = with_adapter.merge_and_unload().state_dict()
    for name, weight in merged.state_dict().items():
        assert torch.equal(weight, by_peft[name]), name


def test_transformers_finds_the_base_through_the_adapter(adapted: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(adapted / "adapter")
    assert torch.allclose(
        logits_of(loaded), logits_of(AutoModelForCausalLM.from_pretrained(adapted / "model")), atol=1e-5
    )


def test_only_adapters_are_saved_as_state(adapted: Path) -> None:
    checkpoint = adapted / "checkpoints" / "step-6"
    assert not list(checkpoint.glob("model*"))
    files = [adapted / "adapter" / "adapter_model.safetensors", *checkpoint.glob("*.safetensors")]
    assert len(files) == 5
    for path in files:
        with safe_open(path, "pt") as handle:
            assert all(".lora_" in name for name in handle.keys())  # noqa: SIM118 (it is no dict)


class States(Hook):
    """Keeps the names of all that is prepared and committed."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        self.names |= {*prepared.parameters, *prepared.moments}
        return prepared


def test_only_adapters_travel_as_state(tmp_path: Path) -> None:
    states = States()
    settings = Config.load(None, [*TINY, *LORA, "run.steps=2"])
    train(settings, folder=tmp_path / "run", hooks_of={"initiator": [states], "worker-1": [states]})
    assert len(states.names) == 6 * 2  # two tensors in each of six layers
    assert all(".lora_" in name for name in states.names)


def test_the_base_stays_as_it_was(adapted: Path) -> None:
    """Merged weights differ from the base's where adapters sit, and nowhere else."""
    before = load_file(adapted / "initial" / "model.safetensors")
    after = {
        name: tensor for path in (adapted / "model").glob("*.safetensors") for name, tensor in load_file(path).items()
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"transformer.h.{layer}.attn.c_attn.weight" for layer in range(6)}


@pytest.mark.parametrize("setting", ["pipeline.stages=6", "pipeline.gradient_checkpointing=true"])
def test_the_cut_does_not_change_the_adapters(adapted: Path, tmp_path: Path, setting: str) -> None:
    other = train(Config.load(None, [*TINY, *LORA, setting]), folder=tmp_path / "other").summary
    assert other.weights_root == Summary.read(adapted / "summary.json").weights_root


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


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


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


def test_adapters_are_trained_on_from_their_folder(adapted: Path, tmp_path: Path) -> None:
    """They bring rank and targets with them; the first step starts from what they have learned."""
    same = ["model.lora_rank=4", 'model.lora_targets=["c_attn"]', "model.lora_alpha=16"]
    again = [*TINY, f"model.adapter={adapted / 'adapter'}", *same, "run.steps=1", "optimizer.learning_rate=1e-9"]
    result = train(Config.load(None, again), folder=tmp_path / "again").summary
    assert result.eval_perplexity == pytest.approx(Summary.read(adapted / "summary.json").eval_perplexity, rel=1e-5)


def test_the_best_adapters_are_exported(tmp_path: Path) -> None:
    """With a rate that ruins the model the best evaluation is an early one, and its adapters are what is left."""
    settings = [*TINY, *LORA, "evaluation.export=best", "evaluation.every_steps=1", "optimizer.learning_rate=3.0"]
    folder = tmp_path / "run"
    summary = train(Config.load(None, [*settings, "optimizer.clip_norm=0.0"]), folder=folder).summary
    best = json.loads(sorted(folder.glob("checkpoints/step-*/state.json"))[-1].read_text())["progress"]["best_step"]
    assert best < 6
    stored = load_file(folder / "checkpoints" / f"step-{best}" / "adapter_model.safetensors")
    exported = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(exported[name], tensor) for name, tensor in stored.items())
    found = shieldwall("eval", folder, "--json").json()["perplexity"]
    assert found == pytest.approx(summary.eval_perplexity, rel=1e-4)


@pytest.fixture(scope="module")
def stored_in_bfloat16(adapted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose weights and configuration say bfloat16, as most of the hub's do."""
    folder = tmp_path_factory.mktemp("models") / "base"
    model = AutoModelForCausalLM.from_pretrained(adapted / "model").to(torch.bfloat16)
    shutil.copytree(adapted / "initial", folder)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("precision", ["model.dtype=float32", "model.dtype=bfloat16", "model.autocast=true"])
@pytest.mark.parametrize("rank", [0, 4])
def test_eval_repeats_the_perplexity_in_the_arithmetic_of_the_run(
    stored_in_bfloat16: Path, tmp_path: Path, precision: str, rank: int
) -> None:
    """From the model, the adapters on their base, and a checkpoint of either; by transformers and peft alone."""
    folder = tmp_path / "run"
    settings = [*TINY, f"model.lora_rank={rank}", precision, f"model.name={stored_in_bfloat16}", "pipeline.stages=3"]
    summary = train(Config.load(None, [*settings, "optimizer.learning_rate=0.01"]), folder=folder).summary
    places = [folder / "checkpoints" / "step-6", folder / "model", *([folder / "adapter"] if rank else [])]
    for place in places:
        merging_rounds = rank and place.name == "model" and "float32" not in precision
        found = shieldwall("eval", place, "--json").json()
        assert found["perplexity"] == pytest.approx(summary.eval_perplexity, rel=1e-2 if merging_rounds else 1e-6)


def test_adapters_of_a_moved_run_are_evaluated_on_a_given_base(adapted: Path, tmp_path: Path) -> None:
    moved, base = tmp_path / "moved", tmp_path / "base"
    shutil.copytree(adapted / "adapter", moved)
    shutil.copytree(adapted / "initial", base)
    for named in (None, "", ".", "somebody/no-such-model", str(tmp_path / "gone")):
        change_json(moved / "adapter_config.json", base_model_name_or_path=named)
        result = shieldwall("eval", moved)
        assert result.code == 2
        assert "SW-M135" in result.err
        assert "--base MODEL" in result.err
    found = shieldwall("eval", moved, "--base", base, "--json").json()["perplexity"]
    assert found == pytest.approx(Summary.read(adapted / "summary.json").eval_perplexity, rel=1e-5)


@pytest.mark.parametrize("how", ["train", "eval", "an adapter's base"])
def test_code_that_lies_beside_a_model_is_never_run(adapted: Path, tmp_path: Path, how: str) -> None:
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
    process = start(*command, stdin=subprocess.PIPE)
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


def test_an_identical_base_with_more_files_beside_it_is_the_same_base(adapted: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(adapted / "initial", base)
    save_file({"other": torch.zeros(1)}, base / "consolidated.safetensors")
    settings = [*TINY, f"model.name={base}", f"model.adapter={adapted / 'adapter'}", "run.steps=1"]
    train(Config.load(None, settings), folder=tmp_path / "run")


def test_targets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for targets in ('["q_proj"]', '["c_attn", "q_proj"]'):
        said = refused(tmp_path, "model.lora_rank=2", f"model.lora_targets={targets}")
        assert "SW-M130" in said
        assert "q_proj" in said


def test_targets_outside_the_layers_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "model.lora_rank=2", 'model.lora_targets=["c_attn", "wte"]')
    assert "SW-M131" in said
    assert "wte" in said


def test_every_linear_module_can_have_adapters(tmp_path: Path) -> None:
    settings = [*TINY, "model.lora_rank=2", 'model.lora_targets=["all-linear"]', "run.steps=1"]
    train(Config.load(None, settings), folder=tmp_path / "run")
    names = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert len(names) == 6 * 4 * 2


def test_a_device_without_bfloat16_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of an older accelerator, put in its mouth: none is at hand where tests run."""
    from shieldwall.config import ModelSection
    from shieldwall.core.errors import ConfigError
    from shieldwall.run.model import _refuse_types

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    for section in (ModelSection(dtype="bfloat16"), ModelSection(autocast=True)):
        with pytest.raises(ConfigError, match=r"SW-C109[\s\S]*Tesla T4 has: float32[\s\S]*bfloat16"):
            _refuse_types(section, torch.device("cuda"))
        _refuse_types(section, torch.device("cpu"))
    _refuse_types(ModelSection(), torch.device("cuda"))
