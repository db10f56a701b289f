"""Conformance of every family in the registry: its parts, called as it says, are the whole model, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import MakeModel
from shieldwall.core.errors import ModelError
from shieldwall.models.families import FAMILIES, find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, parameter_shapes
from shieldwall.models.source import open_source
from shieldwall.models.span import spans_of
from shieldwall.models.stage import StageModel, stage_shapes
from shieldwall.models.weights import WeightFiles

FAMILY_NAMES = sorted(FAMILIES)
WITH_ATTENTION = [(name, attention) for name in FAMILY_NAMES for attention in FAMILIES[name].attentions]


def stages_of(folder: Path, cut: list[int], attention: str) -> list[StageModel]:
    source = open_source(folder)
    settings = ModelSettings(config=source.config, attention=attention)
    skeleton = build_skeleton(settings)
    files = WeightFiles(folder, skeleton.base_model_prefix, source.family.stored_names)
    stages = []
    for span in spans_of(cut):
        state = files.read(stage_shapes(skeleton, span), torch.float32)
        stages.append(StageModel(settings, span, state, device=torch.device("cpu")))
    stages[-1].tie_head(stages[0])
    for stage in stages:
        stage.set_training(False)
    return stages


@pytest.mark.parametrize(("family", "attention"), WITH_ATTENTION)
def test_stages_in_a_row_give_the_whole_models_logits(family: str, attention: str, make_model: MakeModel) -> None:
    folder = make_model(family, 4)
    tokens_BT = torch.randint(97, (2, 13), generator=torch.Generator().manual_seed(1))
    whole = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32).eval()
    with torch.no_grad():
        value = tokens_BT
        for stage in stages_of(folder, [1, 2, 1], attention):
            value = stage.forward(value, lambda unit: unit)
        assert torch.equal(value, whole(input_ids=tokens_BT).logits)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_parameter_belongs_to_exactly_one_stage(family: str, make_model: MakeModel) -> None:
    source = open_source(make_model(family, 4))
    skeleton = build_skeleton(ModelSettings(config=source.config, attention="eager"))
    owned = [name for span in spans_of([1, 1, 1, 1]) for name in stage_shapes(skeleton, span)]
    assert sorted(owned) == sorted(parameter_shapes(skeleton))
    assert all(parameter.is_meta for parameter in skeleton.parameters())


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_family_hides_no_state_in_buffers(family: str, make_model: MakeModel) -> None:
    """A saved stage holds its parameters and nothing else, so nothing else may decide the result."""
    whole = AutoModelForCausalLM.from_pretrained(make_model(family, 4))
    saved = set(whole.state_dict())
    tied = set(getattr(whole, "_tied_weights_keys", None) or {})
    assert saved - tied == {name for name, _ in whole.named_parameters()} - tied


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_family_names_real_dropout_fields(family: str, make_model: MakeModel) -> None:
    config = open_source(make_model(family, 4)).config
    assert all(getattr(config, field) == 0.0 for field in find_family(family, "test").dropout_fields)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r'SW-M101.*"gpt3".*cannot be cut') as caught:
        find_family("gpt3", "config.json")
    assert ", ".join(FAMILY_NAMES) in str(caught.value)
    assert 'did you mean "gpt2"' in str(caught.value)
    assert "shieldwall.families" in str(caught.value)


def test_layerdrop_is_refused(tmp_path: Path, make_model: MakeModel) -> None:
    config = open_source(make_model("opt", 4)).config
    config.layerdrop = 0.1
    config.save_pretrained(tmp_path)
    config.layerdrop = 0.0
    with pytest.raises(ModelError, match=r"SW-M102.*layerdrop"):
        open_source(tmp_path)
