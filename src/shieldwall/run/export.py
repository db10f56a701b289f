"""What a run leaves behind: `model/`, and under LoRA `adapter/` beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from shieldwall.core.files import whole_folder
from shieldwall.core.messages import StageState
from shieldwall.models.adapters import PEFT_PREFIX
from shieldwall.models.families import find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.span import StageSpan
from shieldwall.models.stage import StageModel, stage_shapes
from shieldwall.models.weights import WeightFiles
from shieldwall.recovery.checkpoints import Checkpoint, write_model
from shieldwall.run.states import Origin, stage_states

States = AsyncIterator[tuple[int, StageState]]
"""Each stage's number and committed state, one at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Writes the result of a run, one stage in memory at a time."""

    settings: ModelSettings
    skeleton: PreTrainedModel
    spans: Sequence[StageSpan]
    base: Path
    """Folder of the model that the run started from."""
    write_model_assets: Callable[[Path], None]
    """Writes configuration and tokenizer into a model's folder."""
    write_adapter_assets: Callable[[Path], None]
    """Writes the adapters' configuration and the tokenizer into an adapter's folder."""

    async def export(self, states: States, model: Path, adapter: Path) -> None:
        """Write the folder `model`; under LoRA `adapter` first, and `model` with the adapters merged.

        Raises:
            StorageError: SW-S101; what is there is whole.
        """
        stages = len(self.spans)
        if self.settings.adapter is None:
            with whole_folder(model) as partial:
                await write_model(partial, stages, states, self.write_model_assets)
            return
        trained = {stage: state async for stage, state in states}
        with whole_folder(adapter) as partial:
            await write_model(partial, stages, _each(trained), self.write_adapter_assets, adapter_prefix=PEFT_PREFIX)
        with whole_folder(model) as partial:
            await write_model(partial, stages, self._merged(trained), self.write_model_assets)

    async def _merged(self, trained: dict[int, StageState]) -> States:
        """Each stage's base weights with its adapters added."""
        family = find_family(self.skeleton.config.model_type, str(self.base))
        files = WeightFiles(self.base, self.skeleton.base_model_prefix, family.stored_names)
        for span in self.spans:
            state = trained[span.index]
            shapes = stage_shapes(self.skeleton, span)
            base = {name: shape for name, shape in shapes.items() if name not in state.parameters}
            frozen = files.read(base, self.settings.dtype)
            stage = StageModel(self.settings, span, state.parameters, frozen=frozen, device=torch.device("cpu"))
            yield span.index, StageState(parameters=stage.merged())

    async def checkpointed(self, checkpoint: Checkpoint) -> States:
        """The states that a checkpoint holds, without the optimizer's moments."""
        origin = Origin(base=self.base, checkpoint=checkpoint)
        for holding in stage_states(self.skeleton, self.spans, origin, self.settings.dtype):
            yield holding.span.index, StageState(parameters=holding.state.parameters)


async def _each(states: dict[int, StageState]) -> States:
    for stage, state in states.items():
        yield stage, state
