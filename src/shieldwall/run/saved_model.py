"""A saved model as transformers loads it: a whole one, or adapters on the model that they belong to.

runs/NAME, runs/NAME/model, checkpoints/step-N      config.json and weights
runs/NAME/adapter, checkpoints/step-N under LoRA    adapter_config.json, which names the base
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from shieldwall.config import DataSection, ModelSection
from shieldwall.core.errors import CheckpointError
from shieldwall.models.adapter_folder import CONFIG_FILE as ADAPTER_CONFIG
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.adapters import is_adapter
from shieldwall.models.quiet import without_progress_bars
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, parameter_shapes
from shieldwall.models.source import ModelSource, find_folder, open_source
from shieldwall.models.weights import WeightFiles
from shieldwall.run.folder import RunFolder

RECIPE_FILE = "shieldwall.json"
"""Beside a saved model: the text that it was trained on, how that was cut, and the types that it was computed in."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `eval` needs to repeat what a run found."""

    data: DataSection
    autocast: bool = False
    """Whether the run computed under autocast."""


def write_recipe(folder: Path, data: DataSection, model: ModelSection) -> None:
    """Keep with a model how its text was cut and how it was computed."""
    recipe = {"data": data.model_dump(), "autocast": model.autocast}
    (folder / RECIPE_FILE).write_text(json.dumps(recipe, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A folder with a model or with adapters, and the model that these belong to."""

    folder: Path
    base: ModelSource
    adapter: AdapterFolder | None

    @classmethod
    def find(cls, checkpoint: Path) -> SavedModel:
        """What lies in a model folder, a checkpoint, an adapter's folder, or the folder of a finished run.

        Raises:
            CheckpointError: SW-K107; there is no model.
            ModelError: the model's configuration, or the base of the adapters, cannot be used.
        """
        run = RunFolder(checkpoint)
        folder = run.model if run.config.exists() and run.model.exists() else checkpoint
        if (folder / "config.json").exists():
            return cls(folder, open_source(folder), None)
        if (folder / ADAPTER_CONFIG).exists():
            adapter = AdapterFolder(folder)
            return cls(folder, open_source(find_folder(adapter.base)), adapter)
        raise CheckpointError(
            "SW-K107",
            "there is no model in this folder",
            where=str(checkpoint),
            expected=f"a model with config.json, adapters with {ADAPTER_CONFIG}, or the folder of a finished run",
            got="neither" if folder.exists() else "no such folder",
            remedy="give for example runs/NAME/model or runs/NAME/checkpoints/step-20",
        )

    def recipe(self) -> Recipe:
        """What was saved with the model; the defaults where it was not saved by a run.

        Raises:
            CheckpointError: SW-K102; the file is damaged.
        """
        path = self.folder / RECIPE_FILE
        if not path.exists():
            return Recipe(DataSection(block_tokens=min(DataSection().block_tokens, self.base.positions)))
        try:
            stored = json.loads(path.read_text())
            return Recipe(DataSection.model_validate(stored["data"]), bool(stored.get("autocast", False)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                "SW-K102",
                f"{RECIPE_FILE} cannot be read",
                where=str(path),
                expected="the JSON file that was saved with the model",
                got=str(error).splitlines()[0],
                remedy="remove the file and give --data and --block-tokens",
            ) from error

    def load(self, device: torch.device) -> PreTrainedModel:
        """The model on `device`, by transformers and peft alone, in bfloat16 where it was saved so, else in float32.

        Raises:
            CheckpointError: SW-K102, a file is damaged; SW-K104, a tensor is missing; SW-K107, it cannot be loaded.
            ModelError: SW-M134; the adapters do not fit their base.
        """
        dtype = torch.bfloat16 if self.base.config.dtype == torch.bfloat16 else torch.float32
        model = _load_whole(self.base.folder, dtype)
        if self.adapter is not None:
            self._check_adapter(self.adapter)
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, self.folder)
        loaded: PreTrainedModel = model.to(device).eval()
        return loaded

    def _check_adapter(self, adapter: AdapterFolder) -> None:
        settings = ModelSettings(config=self.base.config, attention="eager", adapter=adapter.lora)
        shapes = parameter_shapes(build_skeleton(settings))
        adapter.check({name: shape for name, shape in shapes.items() if is_adapter(name)})


def _load_whole(folder: Path, dtype: torch.dtype) -> Any:
    WeightFiles(folder, "").check()
    try:
        with without_progress_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            "SW-K107",
            "the model cannot be loaded",
            where=str(folder),
            expected="a folder that transformers loads",
            got=str(error).strip().splitlines()[0],
            remedy="copy or export the model again",
        ) from error
    if report["missing_keys"]:
        raise CheckpointError(
            "SW-K104",
            "the checkpoint lacks a tensor",
            where=str(folder),
            expected=str(sorted(report["missing_keys"])[0]),
            got=f"{len(report['missing_keys'])} tensors that config.json asks for are missing",
            remedy="take config.json and weights from the same save",
        )
    return model
