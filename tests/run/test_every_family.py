"""From text to a checkpoint that transformers evaluates, by the commands, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import overrides, shieldwall
from transformers import AutoModelForCausalLM

from shieldwall import Summary
from shieldwall.models.families import FAMILIES


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_tiny_model_trains_and_transformers_evaluates_it(family: str, tmp_path: Path) -> None:
    """The second run starts from the first one's checkpoint, which is written under our names, in shards."""
    first, second = tmp_path / "first", tmp_path / "second"
    small = overrides("run.steps=2", "checkpoint.every_steps=0", "pipeline.stages=3")
    trained = shieldwall("train", "--run", first, *small, "--set", f"model.name=tiny:{family}")
    assert trained.code == 0, trained.err
    found = shieldwall("eval", first, "--json").json()
    assert found["perplexity"] == pytest.approx(Summary.read(first / "summary.json").eval_perplexity, rel=1e-5)
    again = shieldwall("train", "--run", second, *small, "--set", f"model.name={first / 'model'}")
    assert again.code == 0, again.err
    _, report = AutoModelForCausalLM.from_pretrained(second / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_an_attention_that_the_family_lacks_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    wish = overrides("model.name=tiny:bloom", "model.attention=sdpa")
    result = shieldwall("train", "--run", folder, *wish)
    assert result.code == 2
    assert "SW-M107: the model has no such attention implementation" in result.err
    assert "one of: auto, eager; bloom has no other" in result.err
    assert not folder.exists()
