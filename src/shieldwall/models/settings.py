"""How every stage of a run builds its part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedConfig

from shieldwall.models.families import find_family

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What all stages of a run must agree on before any of them holds a weight."""

    config: PreTrainedConfig
    """Configuration of the whole model."""
    attention: str
    """Attention implementation, by transformers' name."""
    dtype: torch.dtype = torch.float32
    """Type of the weights."""
    autocast: bool = False
    """Compute in bfloat16 where torch's autocast holds that to be safe, on weights of `dtype`."""
    adapter: LoraConfig | None = None
    """Train these adapters, in float32, and nothing else."""

    @property
    def dropout(self) -> bool:
        """Whether any part of the model draws random numbers in training."""
        fields = find_family(self.config.model_type, "the model's configuration").dropout_fields
        drawn = any(getattr(self.config, field) > 0 for field in fields)
        return drawn or (self.adapter is not None and self.adapter.lora_dropout > 0)

    @property
    def arithmetic(self) -> str:
        """Name of the types that are computed in, for the arithmetic class."""
        name = str(self.dtype).removeprefix("torch.")
        name += "+autocast-bfloat16" if self.autocast else ""
        return name + ("+lora-float32" if self.adapter is not None else "")
