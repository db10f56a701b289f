"""Mistral: rotary positions, grouped key and value heads, in many models a sliding window in all layers."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import MistralConfig, PreTrainedConfig

from shieldwall.models.families.base import TinyShape
from shieldwall.models.families.rotary import FULL, SLIDING, RotaryFamily, grouped_heads


class Mistral(RotaryFamily):
    """`MistralForCausalLM`."""

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        """The window is an eighth of the positions, as in Mistral 7B v0.1."""
        return MistralConfig(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_attention_heads=shape.heads,
            num_key_value_heads=grouped_heads(shape.heads),
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            sliding_window=max(1, shape.positions // 8),
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
        )

    def attention_kinds(self, config: PreTrainedConfig) -> Sequence[str]:
        kind = FULL if config.sliding_window is None else SLIDING
        return [kind] * int(config.num_hidden_layers)
