"""How stages are built, from a configuration and a model's source: attention, types, adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from shieldwall.config import Config, ModelSection
from shieldwall.core.compression import Compression
from shieldwall.core.errors import ConfigError, ModelError
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.adapters import ALL_LINEAR, make_lora
from shieldwall.models.lora_file import CONFIG_FILE
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import ModelSource
from shieldwall.run.adapter_base import base_name

if TYPE_CHECKING:
    from peft import LoraConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def model_settings(config: Config, source: ModelSource, device: torch.device) -> ModelSettings:
    """How every stage builds its part of the configured model.

    Raises:
        ModelError: SW-M107, no such attention implementation; SW-M130 to SW-M132, the adapters cannot be used.
        ConfigError: SW-C109, the device lacks the type; SW-C105, given adapters were made with other settings.
    """
    model = config.model
    _refuse_types(model, device)
    settings = ModelSettings(
        config=source.config,
        attention=_choose_attention(model, source),
        dtype=DTYPES[model.dtype],
        autocast=model.autocast,
    )
    if model.adapter:
        lora = AdapterFolder(Path(model.adapter)).lora
        _refuse_other_settings(model, lora)
        lora.base_model_name_or_path = base_name(model, source)
        return replace(settings, adapter=lora, adapter_origin=f"{model.adapter}/{CONFIG_FILE}, target_modules")
    if not model.lora_rank:
        return settings
    lora = make_lora(
        build_skeleton(settings),
        rank=model.lora_rank,
        alpha=model.lora_alpha,
        dropout=model.lora_dropout,
        targets=model.lora_targets,
        base=base_name(model, source),
    )
    return replace(settings, adapter=lora)


def compression_of(config: Config, model: ModelSettings) -> Compression:
    """How what such stages make crosses their borders."""
    return Compression(config.transport.compression, model.dtype)


def _refuse_other_settings(model: ModelSection, lora: LoraConfig) -> None:
    """Given adapters bring their own settings; what is asked for besides must be the same."""
    usual, targets = ModelSection(), lora.target_modules
    brought = {
        "lora_rank": lora.r,
        "lora_alpha": float(lora.lora_alpha),
        "lora_dropout": lora.lora_dropout,
        "lora_targets": targets if isinstance(targets, str) else sorted(targets or []),
    }
    for key, theirs in brought.items():
        asked = getattr(model, key)
        asked_plainly = ALL_LINEAR if asked == [ALL_LINEAR] else sorted(asked) if isinstance(asked, list) else asked
        if asked != getattr(usual, key) and asked_plainly != theirs:
            raise ConfigError(
                "SW-C105",
                "the adapters were made with another setting than is asked for",
                where=f"model.{key}",
                expected=f"{theirs}, as {model.adapter} says, or left out",
                got=str(asked),
                remedy=f"leave model.{key} out: the adapters bring their own",
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
    if wants_bfloat16 and device.type == "cuda" and not _has_bfloat16(device):
        raise ConfigError(
            "SW-C109",
            "the device does not compute in that type",
            where="model.autocast" if model.autocast else "model.dtype",
            expected=f"a type that {torch.cuda.get_device_name(device)} has: float32",
            got="bfloat16",
            remedy='set model.dtype to "float32" and model.autocast to false, or run.device to "cpu"',
        )


def _has_bfloat16(device: torch.device) -> bool:
    """Whether this very device has it, not whichever is current."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
