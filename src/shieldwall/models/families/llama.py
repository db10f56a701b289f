"""Llama: rotary positions that every stage computes for itself, head tied or not."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import LlamaConfig, PreTrainedConfig, PreTrainedModel

from shieldwall.models.families.base import Family, TinyShape


class Llama(Family):
    """`LlamaForCausalLM`."""

    embeddings = ("model.embed_tokens",)
    layers = "model.layers"
    head = ("model.norm", "lm_head")
    recomputed = ("model.rotary_emb",)
    dropout_fields = ("attention_dropout",)

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

    def embed(self, model: PreTrainedModel, tokens_BT: Tensor) -> Tensor:
        hidden: Tensor = model.model.embed_tokens(tokens_BT)
        return hidden

    def layer_arguments(self, model: PreTrainedModel, hidden_BTD: Tensor) -> dict[str, Any]:
        position_ids = self.positions(hidden_BTD)
        return {
            "attention_mask": self.causal_mask(model, hidden_BTD),
            "position_ids": position_ids,
            "position_embeddings": model.model.rotary_emb(hidden_BTD, position_ids=position_ids),
        }

    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        logits: Tensor = model.lm_head(model.model.norm(hidden_BTD))
        return logits
