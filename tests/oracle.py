"""The pipeline and the plain loop side by side, on the same tokens in the same arithmetic class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from rounding import round_at_borders
from shieldwall.lab.plain import train_plain
from shieldwall.lab.small_run import Case, Trained, train_pipeline
from shieldwall.models.families import find_family

__all__ = ["Case", "Trained", "add_adapters", "assert_bit_equal", "published_seed", "train_pipeline", "train_reference"]

AFTER_LAYERS = ("ln_f", "final_layer_norm", "model.norm", "lm_head", "embed_out")
"""Parts of the names of what follows the layers."""


_PLAIN: dict[tuple[str, Path], Trained] = {}


def train_reference(case: Case, folder: Path) -> Trained:
    """What the plain loop makes of the case; trained once for all ways to cut, place, schedule and check it.

    Where each stage is clipped by itself, or what crosses its borders is compressed, the cut decides bits and stays.
    """
    plain = replace(
        case,
        schedule="",
        workers=None,
        when=None,
        bans=False,
        respond="repair",
        attempts=8,
        topology="chain",
        hooks_of={},
        compute_of=None,
    )
    if case.clip_by == "model" and case.compression == "none":
        plain = replace(plain, stages=1, cut=())
    key = (repr(plain), folder)
    if key not in _PLAIN:
        _PLAIN[key] = _train_plainly(plain, folder)
    return _PLAIN[key]


def _train_plainly(case: Case, folder: Path) -> Trained:
    """The unsplit model under `lab/plain.py`, dropout reseeded by the published function, written out anew here."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=case.config(folder), attn_implementation=case.attention_name, dtype=case.dtype
    )
    whole = add_adapters(model, case) if case.lora_rank else model
    whole.train()
    family = find_family(case.family, "test")
    layers = list(model.get_submodule(family.layers))
    units = [model.get_input_embeddings(), *layers]
    if case.compression != "none":
        round_at_borders(layers, case.cut or (case.layers // case.stages,) * case.stages, case.compression)
    rates = [case.learning_rate.at(step) for step in range(case.steps)]
    trained = {name: parameter for name, parameter in whole.named_parameters() if parameter.requires_grad}
    losses = train_plain(
        whole,
        list(case.tokens),
        optimizer=case.optimizer.build(list(trained.values()), rates[0]),
        learning_rates=rates,
        clip_norm=case.clip_norm,
        clipped_apart=_by_stage(model, family.layers, case) if case.clip_by == "stage" else (),
        units=units,
        seed_of=lambda step, micro_batch, unit: published_seed("dropout", case.seed, step, micro_batch, unit),
        autocast=case.autocast,
        positions_BT=case.positions_BT if case.packed else None,
    )
    weights = {name.removeprefix("base_model.model.").replace(".default", ""): trained[name] for name in trained}
    return Trained({name: parameter.detach() for name, parameter in weights.items()}, losses)


def _by_stage(model: PreTrainedModel, layers: str, case: Case) -> list[list[torch.nn.Parameter]]:
    """The parameters of each stage by their names; a tied head counts with the embeddings, in the first stage."""
    cut = case.cut or (case.layers // case.stages,) * case.stages
    stage_of_layer = [stage for stage, count in enumerate(cut) for _ in range(count)]
    groups: list[list[torch.nn.Parameter]] = [[] for _ in cut]
    for name, parameter in model.named_parameters():
        if name.startswith(f"{layers}."):
            stage = stage_of_layer[int(name.removeprefix(f"{layers}.").split(".")[0])]
        else:
            stage = len(cut) - 1 if any(end in name for end in AFTER_LAYERS) else 0
        groups[stage].append(parameter)
    return groups


def add_adapters(model: PreTrainedModel, case: Case) -> PeftModel:
    """Adapters as anybody would add them with peft, their first weights drawn by the published function."""
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=case.lora_rank,
        lora_alpha=16,
        lora_dropout=case.lora_dropout,
        target_modules=list(case.lora_targets) or None,
        fan_in_fan_out=case.family == "gpt2",
    )
    whole = get_peft_model(model, lora)
    adapters = [(name, weight) for name, weight in whole.named_parameters() if ".lora_" in name]
    for place, (name, weight) in enumerate(adapters):
        if ".lora_A." in name:
            drawn = torch.Generator().manual_seed(published_seed("adapter", case.seed, place))
            torch.nn.init.kaiming_uniform_(weight.data, a=5**0.5, generator=drawn)
    return whole


def published_seed(purpose: str, *parts: int) -> int:
    text = "|".join(["shieldwall/1", purpose, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def assert_bit_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Per parameter: the same names, and the same bits under each."""
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []
