"""Stages of one model share what they do not compute with, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, stage_skeleton
from shieldwall.models.source import open_source


def test_a_stage_begins_in_training_whatever_others_were_switched_to(make_model: Callable[..., Path]) -> None:
    """Else dropout would be off in layers that another stage had switched off before this one was made."""
    settings = ModelSettings(config=open_source(make_model("gpt2")).config, attention="sdpa")
    first = stage_skeleton(settings, "transformer.h", range(1))
    first.eval()
    second = stage_skeleton(settings, "transformer.h", range(1, 3))
    assert all(module.training for module in second.modules())
    first.eval()
    own = [second.get_submodule(f"transformer.h.{index}") for index in (1, 2)]
    assert all(module.training for layer in own for module in layer.modules())


def test_own_layers_and_all_that_is_no_layer_are_new(make_model: Callable[..., Path]) -> None:
    settings = ModelSettings(config=open_source(make_model("gpt2")).config, attention="sdpa")
    one, other = (stage_skeleton(settings, "transformer.h", range(index, index + 1)) for index in (0, 1))
    assert one.get_submodule("transformer.h.2") is other.get_submodule("transformer.h.2")
    for name in ("transformer.h.0", "transformer.h.1", "transformer.wte", "transformer.ln_f", "lm_head"):
        assert one.get_submodule(name) is not other.get_submodule(name)


def test_a_copy_is_what_is_built(make_model: Callable[..., Path]) -> None:
    settings = ModelSettings(config=open_source(make_model("gpt2")).config, attention="sdpa")
    built, copied = build_skeleton(settings), stage_skeleton(settings, "transformer.h", range(2))
    assert str(copied) == str(built)
    named = {name: (tuple(each.shape), each.dtype, each.device) for name, each in built.named_parameters()}
    assert {name: (tuple(each.shape), each.dtype, each.device) for name, each in copied.named_parameters()} == named
    assert all(each.device == torch.device("meta") for each in copied.parameters())
    assert (copied.lm_head.weight is copied.transformer.wte.weight) == (
        built.lm_head.weight is built.transformer.wte.weight
    )
