"""LoRA from one command: what travels, what is saved, and who can load it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from adapter_runs import LORA, change_json, train_adapters
from commands import TINY, shieldwall
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from shieldwall import Config, Hook, Summary, train
from shieldwall.core.hooks import Update
from shieldwall.core.messages import StageState


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_adapters(tmp_path_factory.mktemp("runs") / "adapted")


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


def test_adapters_are_trained_on_from_their_folder(adapted: Path, tmp_path: Path) -> None:
    """They bring rank and targets with them; the first step starts from what they have learned."""
    same = ["model.lora_rank=4", 'model.lora_targets=["c_attn"]', "model.lora_alpha=16"]
    again = [*TINY, f"model.adapter={adapted / 'adapter'}", *same, "run.steps=1", "optimizer.learning_rate=1e-9"]
    result = train(Config.load(None, again), folder=tmp_path / "again").summary
    assert result.eval_perplexity == pytest.approx(Summary.read(adapted / "summary.json").eval_perplexity, rel=1e-5)


def test_the_best_adapters_are_exported(tmp_path: Path) -> None:
    """Who learns words forgets figures: the best evaluation is an early one, and its adapters are what is left."""
    text, folder = tmp_path / "text", tmp_path / "run"
    figures = "".join(f"{number * number}\n" for number in range(1000, 1300))
    text.write_text("the cat sat on the mat\n" * 2000 + figures)
    settings = [*TINY, *LORA, f"data.corpus=text:{text}", "evaluation.export=best", "evaluation.every_steps=1"]
    summary = train(Config.load(None, [*settings, "optimizer.learning_rate=0.3"]), folder=folder).summary
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


def test_an_identical_base_with_more_files_beside_it_is_the_same_base(adapted: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(adapted / "initial", base)
    save_file({"other": torch.zeros(1)}, base / "consolidated.safetensors")
    settings = [*TINY, f"model.name={base}", f"model.adapter={adapted / 'adapter'}", "run.steps=1"]
    train(Config.load(None, settings), folder=tmp_path / "run")


def test_every_linear_module_can_have_adapters(tmp_path: Path) -> None:
    settings = [*TINY, "model.lora_rank=2", 'model.lora_targets=["all-linear"]', "run.steps=1"]
    train(Config.load(None, settings), folder=tmp_path / "run")
    names = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert len(names) == 6 * 4 * 2
