"""Qwen3: as Qwen2, with norms on queries and keys instead of biases, and a head width of its own."""

from __future__ import annotations

from transformers import PreTrainedConfig, Qwen3Config

from shieldwall.models.families.base import TinyShape
from shieldwall.models.families.qwen2 import Qwen2
from shieldwall.models.families.rotary import grouped_heads


class Qwen3(Qwen2):
    """`Qwen3ForCausalLM`; the mixtures of experts are another family."""

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return Qwen3Config(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_attention_heads=shape.heads,
            num_key_value_heads=grouped_heads(shape.heads),
            head_dim=shape.width // shape.heads,
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
        )
