"""Where a model comes from: a local folder, a hub name, or `tiny:FAMILY`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    StrictDataclassError,
)
from transformers import AutoConfig, PreTrainedConfig

from shieldwall.core.errors import ModelError
from shieldwall.models.families import Family, find_family
from shieldwall.models.lora_file import CONFIG_FILE as ADAPTER_CONFIG_FILE

UNLIMITED_POSITIONS = 1_048_576
"""The longest block of a model that names none; no block can be configured longer."""

TINY = "tiny:"
"""Start of the name of a small random model."""

_WANTED_FROM_HUB = ["*.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model folder on this machine with its configuration and family; no weights are read yet."""

    folder: Path
    config: PreTrainedConfig
    family: Family

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.config.num_hidden_layers)

    @property
    def positions(self) -> int:
        """Longest block of tokens that the model takes; families without learned positions may name no limit."""
        return int(getattr(self.config, "max_position_embeddings", None) or UNLIMITED_POSITIONS)


def tiny_family(name: str) -> str | None:
    """The family in `tiny:FAMILY`, or None for other names."""
    return name.removeprefix(TINY) if name.startswith(TINY) else None


def is_folder(name: str) -> bool:
    """Whether `name` is that of a folder; false for what cannot be a path at all."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def find_folder(name: str) -> Path:
    """The local folder of a model: `name` itself if it is one, else a snapshot from the hub.

    Only configuration, tokenizer and safetensors are fetched; pickled weights never are.

    Raises:
        ModelError: SW-M103; there is neither such a folder nor such a model on the hub, or the hub is out of reach.
    """
    if is_folder(name):
        return Path(name)
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_WANTED_FROM_HUB))
    except (HFValidationError, RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            "SW-M103",
            f'model "{name}" was not found',
            where="model.name",
            expected="a local folder, the name of a model on the hub, or tiny:FAMILY",
            got=f"no such folder, and the hub answered: {str(error).strip().splitlines()[0]}",
            remedy="check the spelling and the network; on a machine without network give a folder",
        ) from error


def open_source(folder: Path) -> ModelSource:
    """Read a model folder's configuration and find its family.

    Raises:
        ModelError: SW-M105, no readable config.json; SW-M101, unknown family; SW-M102, a setting that cannot be cut.
    """
    if (folder / ADAPTER_CONFIG_FILE).exists() and not (folder / "config.json").exists():
        raise ModelError(
            "SW-M105",
            "the folder holds adapters, not a model",
            where=str(folder),
            expected="config.json and weights",
            got=f"{ADAPTER_CONFIG_FILE}",
            remedy="set model.name to the model that they belong to, and model.adapter to this folder",
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ModelError(
            "SW-M105",
            "the model's configuration cannot be read",
            where=str(folder / "config.json"),
            expected="the config.json of a causal language model that transformers knows",
            got=_without_advice(str(error)),
            remedy="give the folder that save_pretrained wrote",
        ) from error
    family = find_family(config.model_type, str(folder / "config.json"))
    family.check(config)
    return ModelSource(folder, config, family)


def _without_advice(said: str) -> str:
    """The first line of what transformers says, but for its advice to run the folder's code."""
    if "trust_remote_code" in said:
        return "a model that needs Python code of its own, which is never run"
    return said.strip().splitlines()[0]
