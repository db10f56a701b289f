"""`adapter_config.json` of peft, read strictly: what decides an adapter's function is checked or refused.

Peft's configuration has fields for dozens of methods. Those below are plain LoRA, and shieldwall does with them what
peft does. Any other field that is set would change the forward pass, the base or what is trained, so it is refused by
name rather than passed over.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shieldwall.core.errors import ModelError

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG_FILE = "adapter_config.json"
_DESCRIPTIVE = {"peft_version", "auto_mapping", "revision", "inference_mode", "megatron_core", "qalora_group_size"}
"""Fields that decide nothing by themselves."""

Names = str | list[str]
Rank = Annotated[int, Field(ge=1)]
Scale = Annotated[float, Field(gt=0.0)]


class _LoraFile(BaseModel):
    """The fields of plain LoRA."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", protected_namespaces=())

    peft_type: Literal["LORA"]
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    r: Rank
    lora_alpha: Scale
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    target_modules: Names | None = None
    exclude_modules: Names | None = None
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    rank_pattern: dict[str, Rank] = {}
    alpha_pattern: dict[str, Scale] = {}
    layers_to_transform: int | list[int] | None = None
    layers_pattern: Names | None = None
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    bias: Literal["none"] = "none"


def read_lora(folder: Path) -> LoraConfig:
    """Peft's configuration of the adapters in `folder`.

    Raises:
        ModelError: SW-M132, no readable configuration of LoRA adapters; SW-M131, something else than plain LoRA.
    """
    from peft import LoraConfig

    path = folder / CONFIG_FILE
    fields = _read_json(folder, path)
    try:
        plain = _LoraFile.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise unusable(
            folder, f'{CONFIG_FILE}, "{first["loc"][0]}": {first["input"]!r}', expected=f"{first['msg']}"
        ) from error
    foreign = sorted(name for name, value in (plain.model_extra or {}).items() if name not in _DESCRIPTIVE and value)
    if foreign:
        raise ModelError(
            "SW-M131",
            "these adapters cannot be trained through the pipeline",
            where=f"{path}, {foreign[0]}",
            expected="plain LoRA on linear modules of the layers: that option left at its default",
            got=f"{foreign[0]} = {fields[foreign[0]]!r}",
            remedy="train new adapters with model.lora_rank, or give adapters without that option",
        )
    return LoraConfig(**plain.model_dump(exclude=set(plain.model_extra or ()) | {"peft_type"}))


def lora_plain(lora: LoraConfig) -> dict[str, Any]:
    """The fields as plain data that JSON takes, in one order whatever the process."""
    fields: dict[str, Any] = lora.to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(fields.items())}


def write_lora(folder: Path, lora: LoraConfig) -> None:
    """Write peft's configuration beside the adapters.

    Raises:
        OSError: the disk refuses.
    """
    (folder / CONFIG_FILE).write_text(json.dumps({**lora_plain(lora), "inference_mode": True}, indent=2) + "\n")


def _read_json(folder: Path, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unusable(folder, f"no readable {CONFIG_FILE}: {error.strerror}") from error
    except ValueError as error:
        raise unusable(folder, f"{CONFIG_FILE} is not what peft writes: {error}") from error
    if not isinstance(fields, dict):
        raise unusable(folder, f"{CONFIG_FILE} is not what peft writes: no JSON object")
    return fields


def unusable(folder: Path, got: str, expected: str = "") -> ModelError:
    """The error SW-M132 for a folder without adapters that can be used."""
    usual = f"a folder with LoRA adapters as peft saves them: {CONFIG_FILE} and adapter_model.safetensors"
    return ModelError(
        "SW-M132",
        "there are no adapters that can be used",
        where=str(folder),
        expected=expected or usual,
        got=got,
        remedy="give for example runs/NAME/adapter, or leave model.adapter out to train new ones",
    )
