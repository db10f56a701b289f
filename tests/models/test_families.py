"""Conformance of every family in the registry: its parts, called as it says, are the whole model, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from staged import logits_in_stages, stages_of, whole_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from conftest import MakeModel
from layouts import LAYOUTS, WINDOWS, Layout
from shieldwall.core.errors import ModelError
from shieldwall.models.families import FAMILIES, find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, parameter_shapes
from shieldwall.models.source import open_source
from shieldwall.models.span import spans_of
from shieldwall.models.stage import StageModel, stage_shapes

FAMILY_NAMES = sorted(FAMILIES)
WITH_ATTENTION = [(name, attention) for name in FAMILY_NAMES for attention in FAMILIES[name].attentions]


def some_tokens() -> Tensor:
    return torch.randint(97, (2, 13), generator=torch.Generator().manual_seed(1))


def assert_same_logits(folder: Path, cut: list[int], attention: str) -> None:
    with torch.no_grad():
        expected = whole_model(folder, attention)(input_ids=some_tokens()).logits
    assert torch.equal(logits_in_stages(stages_of(folder, cut, attention), some_tokens()), expected)


@pytest.mark.parametrize(("family", "attention"), WITH_ATTENTION)
def test_stages_in_a_row_give_the_whole_models_logits(family: str, attention: str, make_model: MakeModel) -> None:
    assert_same_logits(make_model(family, 4), [1, 2, 1], attention)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_unusual_layouts_give_the_whole_models_logits(name: str, tmp_path: Path) -> None:
    LAYOUTS[name].write(tmp_path)
    for attention in find_family(LAYOUTS[name].family, "test").attentions:
        assert_same_logits(tmp_path, [1, 1, 1], attention)


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_a_window_shorter_than_the_block_changes_the_result(name: str, tmp_path: Path) -> None:
    """So that a family that forgot its windows could not pass."""
    narrow = WINDOWS[name]
    wide = replace(narrow, fields={**narrow.fields, "sliding_window": 64})
    found = [logits_of_layout(layout, tmp_path) for layout in (narrow, wide)]
    assert not torch.allclose(found[0], found[1], rtol=1e-3, atol=1e-3)


def logits_of_layout(layout: Layout, folder: Path) -> Tensor:
    layout.write(folder)
    return logits_in_stages(stages_of(folder, [1, 1, 1], "sdpa"), some_tokens())


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_parameter_belongs_to_exactly_one_stage(family: str, make_model: MakeModel) -> None:
    source = open_source(make_model(family, 4))
    skeleton = build_skeleton(ModelSettings(config=source.config, attention="eager"))
    owned = [name for span in spans_of([1, 1, 1, 1]) for name in stage_shapes(skeleton, span)]
    assert sorted(owned) == sorted(parameter_shapes(skeleton))
    assert all(parameter.is_meta for parameter in skeleton.parameters())


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_nothing_that_a_stage_runs_is_left_without_memory(family: str, make_model: MakeModel) -> None:
    """Parameters, and buffers that no checkpoint holds: rotary tables, Gemma's scale of the embeddings."""
    for stage in stages_of(make_model(family, 4), [1, 2, 1], "eager"):
        assert [name for name, tensor in tensors_run_by(stage) if tensor.is_meta] == []


def tensors_run_by(stage: StageModel) -> Iterator[tuple[str, Tensor]]:
    family, model = stage.family, stage._model
    paths = [*family.recomputed, *(f"{family.layers}.{index}" for index in stage.span.layers)]
    paths += family.embeddings if stage.span.embeddings else ()
    paths += family.head if stage.span.head else ()
    prefixes = tuple(f"{path}." for path in paths)
    for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers()):
        if name.startswith(prefixes):
            yield name, tensor


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_family_hides_no_state_in_buffers(family: str, make_model: MakeModel) -> None:
    """A saved stage holds its parameters and nothing else, so nothing else may decide the result."""
    whole = AutoModelForCausalLM.from_pretrained(make_model(family, 4))
    saved = set(whole.state_dict())
    tied = set(getattr(whole, "_tied_weights_keys", None) or {})
    assert saved - tied == {name for name, _ in whole.named_parameters()} - tied


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_exactly_the_named_dropout_fields_draw(family: str, make_model: MakeModel) -> None:
    """A field that draws and is not named would be drawn from no published seed."""
    folder = make_model(family, 2)
    named = find_family(family, "test").dropout_fields
    usual = open_source(folder).config
    assert all(getattr(usual, field) == 0.0 for field in named)
    assert {field for field in usual.to_dict() if "drop" in field and draws(folder, field)} == set(named)


def draws(folder: Path, field: str) -> bool:
    """Whether training computes otherwise than evaluation once `field` is above 0; False where that is refused."""
    config = AutoConfig.from_pretrained(folder, **{field: 0.5})
    try:
        find_family(config.model_type, "test").check(config)
    except ModelError:
        return False
    whole = AutoModelForCausalLM.from_pretrained(folder, config=config)
    with torch.no_grad():
        return not torch.equal(whole.train()(some_tokens()).logits, whole.eval()(some_tokens()).logits)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r'SW-M101.*"gpt3".*cannot be cut') as caught:
        find_family("gpt3", "config.json")
    assert ", ".join(FAMILY_NAMES) in str(caught.value)
    assert 'did you mean "gpt2"' in str(caught.value)
    assert "shieldwall.families" in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout("opt", {"layerdrop": 0.1}), "layerdrop"),
        (Layout("gemma", {"use_bidirectional_attention": True}), "looks ahead"),
        (Layout("qwen2", {"layer_types": ["sliding_attention"] * 3}), "layers that the model does not have"),
        (Layout("qwen3", {"layer_types": ["chunked_attention"] * 3}), "layers that the model does not have"),
    ],
)
def test_settings_that_cannot_be_cut_are_refused(layout: Layout, said: str, tmp_path: Path) -> None:
    layout.write(tmp_path)
    with pytest.raises(ModelError, match=rf"SW-M102.*{said}"):
        open_source(tmp_path)
