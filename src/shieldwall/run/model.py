"""From a configuration and a model's source to how its stages are built: attention, types, adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from shieldwall.config import Config, ModelSection
from shieldwall.core.errors import ConfigError, ModelError
from shieldwall.core.roots import weights_root
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.adapters import is_adapter, make_lora
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, parameter_shapes
from shieldwall.models.source import ModelSource, tiny_family

if TYPE_CHECKING:
    from peft import LoraConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def model_settings(config: Config, source: ModelSource, device: torch.device) -> ModelSettings:
    """How every stage builds its part of the configured model.

    Raises:
        ModelError: SW-M107, no such attention implementation; SW-M130 to SW-M134, the adapters cannot be used.
        ConfigError: SW-C109, the device lacks the type; SW-C105, the adapters have another rank than is asked for.
    """
    model = config.model
    _refuse_types(model, device)
    settings = ModelSettings(
        config=source.config,
        attention=_choose_attention(model, source),
        dtype=DTYPES[model.dtype],
        autocast=model.autocast,
    )
    lora = _choose_adapter(model, source, settings)
    if lora is None:
        return settings
    return ModelSettings(
        config=settings.config,
        attention=settings.attention,
        dtype=settings.dtype,
        autocast=settings.autocast,
        adapter=lora,
    )


def check_adapter(model: ModelSection, source: ModelSource, settings: ModelSettings) -> None:
    """Refuse given adapters that were trained on another model.

    A `tiny:` model that is not made yet has no weights to compare; its shapes are compared.

    Raises:
        ModelError: SW-M133, they name another base; SW-M134, their tensors do not fit.
    """
    if not model.adapter:
        return
    folder = AdapterFolder(Path(model.adapter))
    shapes = parameter_shapes(build_skeleton(settings))
    folder.check({name: shape for name, shape in shapes.items() if is_adapter(name)})
    unmade = not source.folder.is_dir()
    if folder.base and not unmade and not _same_base(folder.base, model, source):
        raise ModelError(
            "SW-M133",
            "the adapters name another model",
            where=str(folder.folder / "adapter_config.json") + ", base_model_name_or_path",
            expected=f"{_base_name(model, source)}, or a folder with the same weights",
            got=folder.base,
            remedy="give the model that they were trained on; if it only moved, correct that line",
        )


def _choose_attention(model: ModelSection, source: ModelSource) -> str:
    wish, offered = model.attention, source.family.attentions
    if wish == "auto":
        return offered[0]
    if wish not in offered:
        raise ModelError(
            "SW-M107",
            "the model has no such attention implementation",
            where="model.attention",
            expected=f"one of: auto, {', '.join(offered)}; {source.config.model_type} has no other",
            got=wish,
            remedy='set model.attention to "auto"',
        )
    return wish


def _refuse_types(model: ModelSection, device: torch.device) -> None:
    wants_bfloat16 = model.dtype == "bfloat16" or model.autocast
    if wants_bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(
            "SW-C109",
            "the device does not compute in that type",
            where="model.autocast" if model.autocast else "model.dtype",
            expected=f"a type that {torch.cuda.get_device_name(device)} has: float32",
            got="bfloat16",
            remedy='set model.dtype to "float32" and model.autocast to false, or run.device to "cpu"',
        )


def _choose_adapter(model: ModelSection, source: ModelSource, settings: ModelSettings) -> LoraConfig | None:
    if model.adapter:
        lora = AdapterFolder(Path(model.adapter)).lora
        if model.lora_rank not in (0, lora.r):
            raise ConfigError(
                "SW-C105",
                "the adapters have another rank than is asked for",
                where="model.lora_rank",
                expected=f"{lora.r}, as {model.adapter} says, or 0",
                got=str(model.lora_rank),
                remedy="leave model.lora_rank out: the adapters bring their own",
            )
        lora.base_model_name_or_path = _base_name(model, source)
        return lora
    if not model.lora_rank:
        return None
    return make_lora(
        build_skeleton(settings),
        rank=model.lora_rank,
        alpha=model.lora_alpha,
        dropout=model.lora_dropout,
        targets=model.lora_targets,
        base=_base_name(model, source),
    )


def _base_name(model: ModelSection, source: ModelSource) -> str:
    """What adapters call their base: the hub's name, or the folder."""
    local = tiny_family(model.name) is not None or Path(model.name).is_dir()
    return str(source.folder.resolve()) if local else model.name


def _same_base(recorded: str, model: ModelSection, source: ModelSource) -> bool:
    name = _base_name(model, source)
    if recorded == name:
        return True
    if Path(recorded).is_dir():
        return weights_root(Path(recorded)) == weights_root(source.folder)
    return Path(recorded).name == Path(name).name and tiny_family(model.name) is None
