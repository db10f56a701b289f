"""Qwen2 (Qwen2.5 too): rotary positions, biases in the attention, a sliding window in some layers, head tied or not."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedConfig, Qwen2Config

from shieldwall.core.errors import ModelError
from shieldwall.models.families.base import TinyShape
from shieldwall.models.families.rotary import FULL, SLIDING, RotaryFamily, grouped_heads


class Qwen2(RotaryFamily):
    """`Qwen2ForCausalLM`."""

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return Qwen2Config(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_attention_heads=shape.heads,
            num_key_value_heads=grouped_heads(shape.heads),
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
        )

    def attention_kinds(self, config: PreTrainedConfig) -> Sequence[str]:
        kinds: list[str] = config.layer_types
        return kinds

    def check(self, config: PreTrainedConfig) -> None:
        known = {FULL} if config.sliding_window is None else {FULL, SLIDING}
        strange = sorted(set(config.layer_types) - known)
        if strange:
            raise ModelError(
                "SW-M102",
                "the configuration asks for layers that the model does not have",
                where="layer_types in the model's config.json",
                expected=f"{FULL}, and {SLIDING} where use_sliding_window is true and sliding_window a number",
                got=f"{', '.join(strange)} with sliding_window {config.sliding_window}",
                remedy='set "use_sliding_window": true and "sliding_window", or change "layer_types"',
            )
