"""Gemma: rotary positions, one key and value head, embeddings scaled by the root of the width, tied head."""

from __future__ import annotations

import torch
from transformers import GemmaConfig, PreTrainedConfig, PreTrainedModel

from shieldwall.core.errors import ModelError
from shieldwall.models.families.base import TinyShape
from shieldwall.models.families.rotary import RotaryFamily


class Gemma(RotaryFamily):
    """`GemmaForCausalLM`, the first generation; later ones are other families."""

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return GemmaConfig(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_attention_heads=shape.heads,
            num_key_value_heads=1,
            head_dim=shape.width // shape.heads,
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
            pad_token_id=None,
        )

    def check(self, config: PreTrainedConfig) -> None:
        if config.use_bidirectional_attention:
            raise ModelError(
                "SW-M102",
                "a model that looks ahead cannot be trained to predict the next token",
                where="use_bidirectional_attention in the model's config.json",
                expected="false or null",
                got=f"{config.use_bidirectional_attention}",
                remedy='set "use_bidirectional_attention": null in the model\'s config.json',
            )

    def restore_buffers(self, model: PreTrainedModel, device: torch.device) -> None:
        """The scale of the embeddings too, which no checkpoint holds."""
        super().restore_buffers(model, device)
        words = model.model.embed_tokens
        words.embed_scale = torch.full_like(words.embed_scale, words.scalar_embed_scale, device=device)
