"""The state that each stage starts from, read one stage at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from shieldwall.core.messages import StageState
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.adapters import draw_adapters, is_adapter
from shieldwall.models.families import find_family
from shieldwall.models.skeleton import parameter_shapes, trained_names
from shieldwall.models.span import StageSpan
from shieldwall.models.stage import stage_shapes
from shieldwall.models.weights import WeightFiles
from shieldwall.recovery.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a run's tensors come from."""

    base: Path
    """Folder of the model that the run starts from."""
    checkpoint: Checkpoint | None = None
    """Where the run goes on from."""
    adapter: Path | None = None
    """Folder of the adapters that it starts from; None: drawn from the seed."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """What one stage is handed."""

    span: StageSpan
    state: StageState
    frozen: dict[str, Tensor]
    """What training leaves alone."""


def owners(skeleton: PreTrainedModel, spans: Sequence[StageSpan]) -> dict[str, int]:
    """Name of each parameter that is trained to the stage that owns it, in the whole model's order."""
    stage_of = {name: span.index for span in spans for name in stage_shapes(skeleton, span)}
    return {name: stage_of[name] for name in trained_names(skeleton)}


def stage_states(
    skeleton: PreTrainedModel, spans: Sequence[StageSpan], origin: Origin, dtype: torch.dtype = torch.float32
) -> Iterator[Holding]:
    """What each stage starts from, with its moments where the run goes on from a checkpoint.

    Args:
        skeleton: the whole model, adapters in place.
        spans: the stages.
        origin: where tensors come from.
        dtype: of weights that are no adapters.

    Raises:
        ModelError, CheckpointError: the weights cannot be read (see `models/weights.py`, `models/adapter_folder.py`).
    """
    shapes = parameter_shapes(skeleton)
    adapters = _adapters({name: shape for name, shape in shapes.items() if is_adapter(name)}, origin)
    checkpoint = origin.checkpoint
    weights = checkpoint.folder if checkpoint and not adapters else origin.base
    family = find_family(skeleton.config.model_type, str(weights))
    files = WeightFiles(weights, skeleton.base_model_prefix, family.stored_names)
    trained = set(trained_names(skeleton))
    for span in spans:
        held = stage_shapes(skeleton, span)
        tensors = files.read({name: shape for name, shape in held.items() if name not in adapters}, dtype)
        tensors |= {name: adapters[name] for name in held if name in adapters}
        moments = checkpoint.moments(held) if checkpoint else {}
        yield Holding(
            span,
            StageState(parameters={name: tensors[name] for name in held if name in trained}, moments=moments),
            {name: tensors[name] for name in held if name not in trained},
        )


def _adapters(shapes: Mapping[str, tuple[int, ...]], origin: Origin) -> dict[str, Tensor]:
    folder = origin.checkpoint.folder if origin.checkpoint else origin.adapter
    if not shapes:
        return {}
    if folder is None:
        return draw_adapters(shapes, origin.seed)
    stored = AdapterFolder(folder)
    stored.check(shapes)
    return stored.read(shapes)
