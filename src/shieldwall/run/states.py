"""The state that each stage starts from, read one stage at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from shieldwall.core.messages import StageState
from shieldwall.models.families import find_family
from shieldwall.models.skeleton import parameter_shapes
from shieldwall.models.span import StageSpan
from shieldwall.models.stage import stage_shapes
from shieldwall.models.weights import WeightFiles
from shieldwall.recovery.checkpoints import Checkpoint


def owners(skeleton: PreTrainedModel, spans: Sequence[StageSpan]) -> dict[str, int]:
    """Name of each parameter to the stage that owns it, in the whole model's order."""
    stage_of = {name: span.index for span in spans for name in stage_shapes(skeleton, span)}
    return {name: stage_of[name] for name in parameter_shapes(skeleton)}


def stage_states(
    skeleton: PreTrainedModel, spans: Sequence[StageSpan], folder: Path, start: Checkpoint | None
) -> Iterator[tuple[StageSpan, StageState]]:
    """Each stage with its parameters from `folder`, and its moments where the run goes on from a checkpoint.

    Raises:
        ModelError, CheckpointError: the weights cannot be read (see `models/weights.py`).
    """
    family = find_family(skeleton.config.model_type, str(folder))
    files = WeightFiles(folder, skeleton.base_model_prefix, family.stored_names)
    for span in spans:
        shapes = stage_shapes(skeleton, span)
        moments = start.moments(shapes) if start else {}
        yield span, StageState(parameters=files.read(shapes, torch.float32), moments=moments)
