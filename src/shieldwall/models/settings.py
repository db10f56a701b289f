"""How every stage of a run builds its part of the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedConfig

from shieldwall.core.roots import config_root
from shieldwall.models.families import find_family
from shieldwall.models.lora_file import lora_plain

if TYPE_CHECKING:
    from peft import LoraConfig


_REMARKS = {
    "_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "use_cache",
    "base_model_name_or_path", "peft_version", "inference_mode", "revision",
}  # fmt: skip
"""Fields of a configuration that decide no bits of training."""


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
    adapter_origin: str = "model.lora_targets"
    """Where these adapters are configured, for messages: a key, or a file."""

    @property
    def dropout(self) -> bool:
        """Whether any part of the model draws random numbers in training."""
        fields = find_family(self.config.model_type, "the model's configuration").dropout_fields
        drawn = any(getattr(self.config, field) > 0 for field in fields)
        return drawn or (self.adapter is not None and self.adapter.lora_dropout > 0)

    def configuration_roots(self) -> dict[str, str]:
        """Hashes over the model's configuration and the adapters', without names, versions and remarks."""
        plain = {name: value for name, value in self.config.to_dict().items() if name not in _REMARKS}
        roots = {"model": config_root(json.loads(json.dumps(plain, default=str)))}
        if self.adapter is not None:
            lora = {name: value for name, value in lora_plain(self.adapter).items() if name not in _REMARKS}
            roots["adapter"] = config_root(json.loads(json.dumps(lora, default=str)))
        return roots

    @property
    def arithmetic(self) -> str:
        """Name of the types that are computed in, for the arithmetic class."""
        name = str(self.dtype).removeprefix("torch.")
        name += "+autocast-bfloat16" if self.autocast else ""
        return name + ("+lora-float32" if self.adapter is not None else "")
