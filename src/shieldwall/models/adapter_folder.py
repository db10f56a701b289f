"""Adapters as peft keeps them: `adapter_config.json` and `adapter_model.safetensors` in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from shieldwall.core.errors import ModelError
from shieldwall.core.roots import open_safetensors, tensor_names, tensors_root
from shieldwall.models.adapters import PEFT_PREFIX
from shieldwall.models.lora_file import read_lora, unusable

WEIGHTS_FILE = "adapter_model.safetensors"


class AdapterFolder:
    """One folder of adapters.

    Raises:
        ModelError: SW-M132, there are no LoRA adapters with safetensors in it; SW-M131, more than plain LoRA.
        CheckpointError: SW-K102; the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / WEIGHTS_FILE
        self.lora = read_lora(folder)
        if not self.weights.exists():
            raise unusable(folder, f"no {WEIGHTS_FILE}; pickled weights are never loaded")

    @property
    def base(self) -> str:
        """Name or folder of the model that the adapters say they belong to; empty where they say nothing."""
        return str(self.lora.base_model_name_or_path or "")

    def root(self) -> str:
        """Hash over the tensors."""
        return tensors_root(dict.fromkeys(tensor_names(self.weights), self.weights))

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Hold the tensors against those that the model wants.

        Args:
            shapes: name to shape of all adapters of the whole model.

        Raises:
            ModelError: SW-M134; a tensor is missing, has another shape or has no place: another model's adapters.
                SW-M132; a tensor does not hold finite floating-point numbers.
        """
        found = self._shapes()
        wrong = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
        if wrong:
            expected, got = shapes.get(wrong[0]), found.get(wrong[0])
            raise ModelError(
                "SW-M134",
                "the adapters belong to another model",
                where=f"{self.weights}, {wrong[0]}",
                expected=str(list(expected)) if expected else "no such tensor: the model has no such module",
                got=f"{list(got) if got else 'no such tensor'}; {len(wrong)} of {len(shapes)} tensors do not fit",
                remedy=f"give the model that they were trained on; they say it is {self.base or 'unknown'}",
            )
        for name, tensor in self.read(shapes).items():
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise unusable(self.folder, f"{WEIGHTS_FILE}, {name}: {tensor.dtype}", "finite floating-point numbers")

    def read(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """The named tensors, in that order; `check` has found them there."""
        with open_safetensors(self.weights) as handle:
            return {name: handle.get_tensor(PEFT_PREFIX + name) for name in shapes}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        with open_safetensors(self.weights) as handle:
            stored = list(handle.keys())
            return {name.removeprefix(PEFT_PREFIX): tuple(handle.get_slice(name).get_shape()) for name in stored}
