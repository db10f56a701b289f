"""How every stage of a run builds its part of the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig


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
