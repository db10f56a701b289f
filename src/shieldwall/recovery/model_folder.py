"""Writing a model or its adapters, and what the optimizer remembers: one stage in memory at a time.

model      model-00001-of-00006.safetensors ..., index      a shard for each stage, in Hugging Face layout
adapters   adapter_model.safetensors                        one file, as peft wants it; adapters are small
moments    optimizer-00001-of-00006.safetensors ...         a shard for each stage
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from shieldwall.core.errors import NonFiniteError
from shieldwall.core.files import storing
from shieldwall.core.messages import StageState

_WEIGHTS_INDEX = "model.safetensors.index.json"
_MOMENT_SEPARATOR = "|"


_ADAPTERS = "adapter_model.safetensors"


class ModelFolderWriter:
    """Fills a folder with a model in Hugging Face layout, or with adapters in peft's.

    Args:
        folder: where to write; exists.
        stages: number of stages that will be added.
        adapter_prefix: what peft puts before the names of adapters; None where the states are whole weights.
    """

    def __init__(self, folder: Path, stages: int, adapter_prefix: str | None = None) -> None:
        self._folder = folder
        self._stages = stages
        self._adapter_prefix = adapter_prefix
        self._adapters: dict[str, Tensor] = {}
        self._home: dict[str, str] = {}
        self._total_bytes = 0

    def add(self, stage: int, state: StageState) -> None:
        """Write one stage's shards; moments are written where the state has any.

        Raises:
            StorageError: SW-S101.
            NonFiniteError: SW-N102; a weight is NaN or infinite, and such a state is never saved.
        """
        _require_finite(stage, state)
        shard = f"{stage + 1:05d}-of-{self._stages:05d}.safetensors"
        if self._adapter_prefix is not None:
            kept = {self._adapter_prefix + name: tensor.cpu() for name, tensor in state.parameters.items()}
            self._adapters.update(kept)
        elif state.parameters:
            name = f"model-{shard}"
            self._save(name, state.parameters)
            self._home.update(dict.fromkeys(state.parameters, name))
            self._total_bytes += sum(tensor.nbytes for tensor in state.parameters.values())
        moments = {
            f"{name}{_MOMENT_SEPARATOR}{key}": moment
            for name, kept in state.moments.items()
            for key, moment in kept.items()
        }
        if moments:
            self._save(f"optimizer-{shard}", moments)

    def finish(self) -> None:
        """Write the adapters, or the index that names each tensor's shard.

        Raises:
            StorageError: SW-S101.
        """
        if self._adapter_prefix is not None:
            self._save(_ADAPTERS, self._adapters)
            return
        index = {"metadata": {"total_size": self._total_bytes}, "weight_map": dict(sorted(self._home.items()))}
        with storing(self._folder):
            (self._folder / _WEIGHTS_INDEX).write_text(json.dumps(index, indent=2) + "\n")

    def _save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        path = self._folder / name
        plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        with storing(path):
            save_file(plain, path, metadata={"format": "pt"})


def _require_finite(stage: int, state: StageState) -> None:
    broken = [name for name, tensor in state.parameters.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise NonFiniteError(
            "SW-N102",
            f"stage {stage} holds weights that are not finite",
            where=f"stage {stage}, {broken[0]}",
            expected="finite numbers",
            got=f"NaN or infinity in {len(broken)} of {len(state.parameters)} tensors",
            state="these weights were not saved; the last checkpoint stands",
            remedy="start a new run with a lower optimizer.learning_rate or with optimizer.clip_norm, from the last"
            " checkpoint: --set model.name=runs/NAME/checkpoints/step-N, or model.adapter= under LoRA",
        )


def split_moment(stored: str) -> tuple[str, str]:
    """Parameter name and moment name of a tensor in `optimizer-*.safetensors`."""
    name, _, key = stored.rpartition(_MOMENT_SEPARATOR)
    return name, key
