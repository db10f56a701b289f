"""Llama: rotary positions, head tied or not."""

from __future__ import annotations

from transformers import LlamaConfig, PreTrainedConfig

from shieldwall.models.families.base import TinyShape
from shieldwall.models.families.rotary import RotaryFamily


class Llama(RotaryFamily):
    """`LlamaForCausalLM`."""

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return LlamaConfig(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_attention_heads=shape.heads,
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
        )
