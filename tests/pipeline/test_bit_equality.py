"""Guarantee G1: the pipeline ends with the very bits of the plain loop on the unsplit model, per parameter."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shieldwall.lab.plain as plain
from conftest import MakeModel
from layouts import LAYOUTS
from oracle import Case, assert_bit_equal, train_pipeline, train_reference
from shieldwall.models.families import FAMILIES
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.schedule import TOPOLOGIES


@pytest.mark.parametrize("stages", [3, 6])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_pipeline_equals_plain_training(family: str, schedule: str, stages: int, make_model: MakeModel) -> None:
    """Five steps with clipping, warm-up and dropout; tied heads (BLOOM, Gemma, GPT-2, OPT) included."""
    folder = make_model(family)
    case = Case(family=family, schedule=schedule, stages=stages)
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    assert found.losses == expected.losses


def test_the_oracle_notices_other_dropout_masks(make_model: MakeModel) -> None:
    """The comparison can fail: another seed for the masks gives other weights, and clipping really took place."""
    folder = make_model("gpt2")
    case = Case(family="gpt2", stages=3)
    expected = train_reference(case, folder).weights
    name = "transformer.h.0.mlp.c_fc.weight"
    for other in (replace(case, dropout=0.0), replace(case, clip_norm=0.0)):
        assert not torch.equal(train_pipeline(other, folder).weights[name], expected[name])


@pytest.mark.parametrize("family", ["bloom", "gpt2", "llama", "opt"])
def test_clipping_by_stage_keeps_the_bits(family: str, make_model: MakeModel) -> None:
    """Each stage by the norm of its own parameters, as the plain loop does it for groups; a tied head counts once."""
    folder = make_model(family)
    case = Case(family=family, stages=3, steps=3, clip_by="stage", clip_norm=0.3)
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    by_model = train_reference(replace(case, clip_by="model"), folder).weights
    assert not any(torch.equal(found.weights[name], by_model[name]) for name in by_model if ".mlp." in name)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("variant", ["fused", "loop"])
def test_every_optimizer_keeps_the_bits(kind: str, variant: str, make_model: MakeModel) -> None:
    optimizer = OptimizerSettings(kind=kind, variant=variant, momentum=0.9)  # type: ignore[arg-type]
    case = Case(family="gpt2", stages=3, optimizer=optimizer)
    folder = make_model("gpt2")
    assert_bit_equal(train_pipeline(case, folder).weights, train_reference(case, folder).weights)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_eager_attention_keeps_the_bits(family: str, make_model: MakeModel) -> None:
    case = Case(family=family, stages=4, attention="eager", steps=2)
    folder = make_model(family)
    assert_bit_equal(train_pipeline(case, folder).weights, train_reference(case, folder).weights)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_adapters_keep_the_bits(family: str, make_model: MakeModel) -> None:
    """LoRA with dropout of its own, on the modules that peft takes for the family; only adapters are trained."""
    case = Case(family=family, stages=3, steps=3, lora_rank=4, lora_dropout=0.1)
    folder = make_model(family)
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert all(".lora_" in name for name in expected.weights)
    assert len(expected.weights) % 12 == 0  # two for each target in each of six layers
    assert_bit_equal(found.weights, expected.weights)
    assert found.losses == expected.losses


@pytest.mark.parametrize("precision", [{"dtype": torch.bfloat16}, {"autocast": True}], ids=["weights", "autocast"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_bfloat16_keeps_its_own_bits(family: str, precision: dict[str, Any], make_model: MakeModel) -> None:
    """Another class than float32, and within it every bit of the plain loop's."""
    case = Case(family=family, stages=3, steps=3, **precision)
    folder = make_model(family)
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    assert found.losses == expected.losses
    assert found.losses != train_pipeline(Case(family=family, stages=3, steps=3), folder).losses


@pytest.mark.parametrize("precision", [{"dtype": torch.bfloat16}, {"autocast": True}], ids=["weights", "autocast"])
def test_adapters_on_bfloat16_keep_the_bits(precision: dict[str, Any], make_model: MakeModel) -> None:
    case = Case(family="llama", stages=3, steps=3, lora_rank=4, lora_targets=("q_proj", "down_proj"), **precision)
    folder = make_model("llama")
    assert_bit_equal(train_pipeline(case, folder).weights, train_reference(case, folder).weights)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gradient_checkpointing_keeps_the_bits(family: str, schedule: str, make_model: MakeModel) -> None:
    """What is computed again draws the same dropout masks; the head and its loss included."""
    case = Case(family=family, stages=3, schedule=schedule, steps=3, gradient_checkpointing=True)
    folder = make_model(family)
    assert_bit_equal(train_pipeline(case, folder).weights, train_reference(case, folder).weights)


PRECISIONS: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {}, {"dtype": torch.bfloat16}, {"autocast": True}])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layers = draw(st.integers(1, 6))
    stages = draw(st.integers(1, layers))
    borders = sorted(
        draw(st.sets(st.integers(1, layers - 1), min_size=stages - 1, max_size=stages - 1)) if layers > 1 else []
    )
    edges = [0, *borders, layers]
    middle = max(0, stages - 2)
    return Case(
        family=draw(st.sampled_from(sorted(FAMILIES))),
        layers=layers,
        stages=stages,
        cut=tuple(edges[index + 1] - edges[index] for index in range(stages)),
        schedule=draw(st.sampled_from(["gpipe", "1f1b"])),
        micro_batches=draw(st.integers(1, 6)),
        batch=draw(st.integers(1, 3)),
        block_tokens=draw(st.integers(2, 12)),
        steps=2,
        dropout=draw(st.sampled_from([0.0, 0.2])),
        clip_norm=draw(st.sampled_from([0.0, 0.3])),
        seed=draw(st.integers(0, 2**31)),
        gradient_checkpointing=draw(st.booleans()),
        lora_rank=draw(st.sampled_from([0, 0, 3])),
        lora_dropout=draw(st.sampled_from([0.0, 0.1])),
        topology=draw(st.sampled_from(TOPOLOGIES)),
        **draw(PRECISIONS),
        workers=draw(st.integers(1, middle)) if middle else None,
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_cut_schedule_and_placement_keeps_the_bits(case: Case, make_model: MakeModel) -> None:
    folder = make_model(case.family, case.layers)
    assert_bit_equal(train_pipeline(case, folder).weights, train_reference(case, folder).weights)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_unusual_layouts_keep_the_bits(name: str, tmp_path: Path) -> None:
    """Heads tied or not, windows in some layers, norms after the layer, narrow words, other residuals."""
    LAYOUTS[name].write(tmp_path)
    case = Case(family=LAYOUTS[name].family, layers=3, stages=3, steps=2)
    assert_bit_equal(train_pipeline(case, tmp_path).weights, train_reference(case, tmp_path).weights)


def test_the_plain_loop_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(plain.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {str(module).split(".")[0] for module in modules} <= {
        "__future__",
        "collections",
        "typing",
        "torch",
        "transformers",
    }
