"""A model folder as stages in a row, beside the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import open_source
from shieldwall.models.span import spans_of
from shieldwall.models.stage import StageModel
from shieldwall.run.states import Origin, stage_states


def stages_of(folder: Path, cut: Sequence[int], attention: str) -> list[StageModel]:
    """The stages of `cut` with their weights, dropout off."""
    settings = ModelSettings(config=open_source(folder).config, attention=attention)
    stages = [
        StageModel(settings, holding.span, holding.state.parameters, device=torch.device("cpu"))
        for holding in stage_states(build_skeleton(settings), spans_of(cut), Origin(base=folder))
    ]
    stages[-1].tie_head(stages[0])
    for stage in stages:
        stage.set_training(False)
    return stages


@torch.no_grad()
def logits_in_stages(stages: Sequence[StageModel], tokens_BT: Tensor, positions_BT: Tensor | None = None) -> Tensor:
    """Logits (B, T, V) of the stages, one after another."""
    value = tokens_BT
    for stage in stages:
        value = stage.forward(value, lambda unit: unit, positions_BT)
    return value


def whole_model(folder: Path, attention: str) -> PreTrainedModel:
    """What transformers makes of the folder, dropout off."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32).eval()
