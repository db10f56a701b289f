"""Measuring a model whose layers are of unlike kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from layouts import WINDOWS
from shieldwall.models.measure import measure_model
from shieldwall.models.settings import ModelSettings
from shieldwall.models.source import open_source


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("mistral-window", "aaa"), ("qwen2-window-in-later-layers", "abb"), ("qwen3-window-in-some-layers", "aba")],
)
def test_layers_of_one_kind_cost_the_same(name: str, kinds: str, tmp_path: Path) -> None:
    """One layer of each kind is measured, at its own place in the model, and stands for all of that kind."""
    WINDOWS[name].write(tmp_path)
    settings = ModelSettings(config=open_source(tmp_path).config, attention="sdpa")
    layers = measure_model(settings, device=torch.device("cpu"), batch=2, block_tokens=8).layers
    assert [[one is other for other in layers] for one in layers] == [[a == b for b in kinds] for a in kinds]
    assert all(layer.forward_s > 0 and layer.saved_bytes > 0 for layer in layers)
