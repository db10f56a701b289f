"""A saved model as transformers loads it: a whole one, or adapters on the model that they belong to.

runs/NAME, runs/NAME/model, checkpoints/step-N      config.json and weights
runs/NAME/adapter, checkpoints/step-N under LoRA    adapter_config.json, which names the base
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import AutoModelForCausalLM, PreTrainedModel

from shieldwall.config import DataSection, ModelSection
from shieldwall.core.errors import CheckpointError, ModelError
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.lora_file import CONFIG_FILE as ADAPTER_CONFIG
from shieldwall.models.quiet import without_progress_bars
from shieldwall.models.settings import ModelSettings
from shieldwall.models.source import ModelSource, find_folder, is_folder, open_source
from shieldwall.models.weights import WeightFiles
from shieldwall.run.adapter_base import check_shapes
from shieldwall.run.folder import RunFolder
from shieldwall.run.model import DTYPES

RECIPE_FILE = "shieldwall.json"
"""Beside a saved model: the text that it was trained on, how that was cut, and the types that it was computed in."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `eval` needs to repeat what a run found."""

    data: DataSection
    dtype: str = ""
    """Type of the run's weights; empty where no run saved the model."""
    autocast: bool = False
    """Whether the run computed under autocast."""


def write_recipe(folder: Path, data: DataSection, model: ModelSection) -> None:
    """Keep with a model how its text was cut and how it was computed."""
    recipe = {"data": data.model_dump(), "dtype": model.dtype, "autocast": model.autocast}
    (folder / RECIPE_FILE).write_text(json.dumps(recipe, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A folder with a model or with adapters, and the model that these belong to."""

    folder: Path
    base: ModelSource
    adapter: AdapterFolder | None

    @classmethod
    def find(cls, checkpoint: Path, base: str = "") -> SavedModel:
        """What lies in a model folder, a checkpoint, an adapter's folder, or the folder of a finished run.

        Args:
            checkpoint: that folder.
            base: the model that adapters belong to: a folder, or a name on the hub. Empty: what they say themselves, if
                that is at hand; nothing is downloaded because an adapter's file says so.

        Raises:
            CheckpointError: SW-K107; there is no model.
            ModelError: SW-M135, the base of the adapters is not at hand; its configuration cannot be used.
        """
        run = RunFolder(checkpoint)
        folder = run.model if run.config.exists() and run.model.exists() else checkpoint
        if (folder / "config.json").exists():
            return cls(folder, open_source(folder), None)
        if (folder / ADAPTER_CONFIG).exists():
            adapter = AdapterFolder(folder)
            return cls(folder, open_source(find_folder(base) if base else _find_base(adapter)), adapter)
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
            data = DataSection.model_validate(stored["data"])
            return Recipe(data, str(stored.get("dtype", "")), bool(stored.get("autocast", False)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                "SW-K102",
                f"{RECIPE_FILE} cannot be read",
                where=str(path),
                expected="the JSON file that was saved with the model",
                got=str(error).splitlines()[0],
                remedy="remove the file and give --data and --block-tokens",
            ) from error

    def load(self, device: torch.device, dtype: str) -> PreTrainedModel:
        """The model on `device`, by transformers and peft alone.

        Args:
            device: where it shall compute.
            dtype: `float32` or `bfloat16`; empty: bfloat16 where it was saved so, else float32.

        Raises:
            CheckpointError: SW-K102, a file is damaged; SW-K104, a tensor is missing; SW-K107, it cannot be loaded.
            ModelError: SW-M134; the adapters do not fit their base.
        """
        as_saved = torch.bfloat16 if self.base.config.dtype == torch.bfloat16 else torch.float32
        model = _load_whole(self.base.folder, DTYPES[dtype] if dtype else as_saved)
        if self.adapter is not None:
            settings = ModelSettings(config=self.base.config, attention="eager", adapter=self.adapter.lora)
            check_shapes(self.adapter, settings)
            from peft import PeftModel

            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=FutureWarning)  # peft's own use of transformers
                model = PeftModel.from_pretrained(model, self.folder)
        loaded: PreTrainedModel = model.to(device).eval()
        return loaded


def _find_base(adapter: AdapterFolder) -> Path:
    """The folder of the model that adapters name, if it is on this machine; the hub is not asked."""
    named = adapter.base
    if named and is_folder(named) and Path(named).is_absolute():
        return Path(named)
    try:
        return Path(huggingface_hub.snapshot_download(named, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            "SW-M135",
            "the model that the adapters belong to is not at hand",
            where=str(adapter.folder / ADAPTER_CONFIG) + ", base_model_name_or_path",
            expected="the full path of a folder, or a model that was fetched from the hub before",
            got=named or "nothing",
            remedy="say which it is: --base MODEL (a folder, or a name on the hub)",
        ) from error


def _load_whole(folder: Path, dtype: torch.dtype) -> Any:
    WeightFiles(folder, "").check()
    try:
        with without_progress_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
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
