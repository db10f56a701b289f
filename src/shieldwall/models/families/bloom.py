"""BLOOM: alibi instead of position embeddings, layer norm after the embeddings, head tied or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BloomConfig, PreTrainedConfig, PreTrainedModel

from shieldwall.models.families.base import Family, TinyShape


class Bloom(Family):
    """`BloomForCausalLM`."""

    embeddings = ("transformer.word_embeddings", "transformer.word_embeddings_layernorm")
    layers = "transformer.h"
    head = ("transformer.ln_f", "lm_head")
    attentions = ("eager",)
    dropout_fields = ("hidden_dropout", "attention_dropout")

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return BloomConfig(
            n_layer=shape.layers,
            hidden_size=shape.width,
            n_head=shape.heads,
            vocab_size=shape.vocabulary,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
        )

    def embed(self, model: PreTrainedModel, tokens_BT: Tensor, positions_BT: Tensor | None) -> Tensor:
        del positions_BT
        body = model.transformer
        hidden: Tensor = body.word_embeddings_layernorm(body.word_embeddings(tokens_BT))
        return hidden

    def layer_arguments(
        self, model: PreTrainedModel, hidden_BTD: Tensor, positions_BT: Tensor | None
    ) -> dict[str, Any]:
        return {
            "attention_mask": self.causal_mask(model, hidden_BTD, positions_BT),
            "alibi": _alibi(model, hidden_BTD, self.positions(hidden_BTD, positions_BT)),
        }

    def call_layer(self, layer: nn.Module, index: int, hidden_BTD: Tensor, arguments: dict[str, Any]) -> Tensor:
        del index
        output: Tensor = layer(hidden_BTD, **arguments)[0]
        return output

    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        logits: Tensor = model.lm_head(model.transformer.ln_f(hidden_BTD))
        return logits


def _alibi(model: PreTrainedModel, hidden_BTD: Tensor, positions_BT: Tensor) -> Tensor:
    """Bias of each head on each key, (B * heads, 1, T): the head's slope times the key's position.

    BLOOM itself counts keys from the start of the row; counted from the start of their example, they get the bias
    that they have in the example alone.
    """
    heads = int(model.config.num_attention_heads)
    batch, tokens, _ = hidden_BTD.shape
    two_keys = torch.ones(1, 2, device=hidden_BTD.device)
    slope_H: Tensor = model.transformer.build_alibi_tensor(two_keys, heads, torch.float32)[:, 0, 1]
    alibi_BHT = slope_H[:, None] * positions_BT.expand(batch, tokens)[:, None, :]
    return alibi_BHT.reshape(batch * heads, 1, tokens).to(hidden_BTD.dtype)
