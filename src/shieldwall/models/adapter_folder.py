"""Reading adapters as peft keeps them: `adapter_config.json` and `adapter_model.safetensors` in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shieldwall.core.errors import ModelError
from shieldwall.core.roots import open_safetensors, tensor_names
from shieldwall.models.adapters import PEFT_PREFIX
from shieldwall.models.settings import ModelSettings

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


class AdapterFolder:
    """One folder of adapters.

    Raises:
        ModelError: SW-M132; there are no LoRA adapters with safetensors in it.
        CheckpointError: SW-K102; the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / WEIGHTS_FILE
        self.lora = _read_config(folder)
        if not self.weights.exists():
            raise _unusable(folder, f"no {WEIGHTS_FILE}; pickled weights are never loaded")
        self._names = set(tensor_names(self.weights))

    @property
    def base(self) -> str:
        """Name or folder of the model that the adapters say they belong to; empty where they say nothing."""
        return str(self.lora.base_model_name_or_path or "")

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Hold the tensors against those that the model wants.

        Args:
            shapes: name to shape of all adapters of the whole model.

        Raises:
            ModelError: SW-M134; a tensor is missing, has another shape or has no place: another model's adapters.
        """
        found = {name.removeprefix(PEFT_PREFIX): self._shape(name) for name in self._names}
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

    def read(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """The named tensors, in that order; `check` has found them there."""
        with open_safetensors(self.weights) as handle:
            return {name: handle.get_tensor(PEFT_PREFIX + name) for name in shapes}

    def _shape(self, stored: str) -> tuple[int, ...]:
        with open_safetensors(self.weights) as handle:
            return tuple(handle.get_slice(stored).get_shape())


def write_lora(folder: Path, settings: ModelSettings) -> None:
    """Write peft's configuration of the adapters beside them.

    Raises:
        OSError: the disk refuses.
    """
    if settings.adapter is None:
        raise LookupError("these settings train no adapters")
    fields: dict[str, Any] = settings.adapter.to_dict()
    fields["inference_mode"] = True
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in fields.items()}
    (folder / CONFIG_FILE).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")


def _read_config(folder: Path) -> LoraConfig:
    from peft import LoraConfig

    path = folder / CONFIG_FILE
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = fields["peft_type"]
    except OSError as error:
        raise _unusable(folder, f"no readable {CONFIG_FILE}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(folder, f"{CONFIG_FILE} is not what peft writes: {error!r}") from error
    if kind != "LORA":
        raise _unusable(folder, f"adapters of the kind {kind}")
    try:
        lora: LoraConfig = LoraConfig.from_pretrained(str(folder))
    except (TypeError, ValueError) as error:
        raise _unusable(folder, f"{CONFIG_FILE}: {str(error).strip().splitlines()[0]}") from error
    lora.inference_mode = False
    return lora


def _unusable(folder: Path, got: str) -> ModelError:
    return ModelError(
        "SW-M132",
        "there are no adapters that can be used",
        where=str(folder),
        expected=f"a folder with LoRA adapters as peft saves them: {CONFIG_FILE} and {WEIGHTS_FILE}",
        got=got,
        remedy="give for example runs/NAME/adapter, or leave model.adapter out to train new ones",
    )
