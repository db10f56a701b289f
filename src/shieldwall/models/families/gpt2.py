"""GPT-2: learned positions, dropout after the embeddings, tied head."""

from __future__ import annotations

from torch import Tensor
from transformers import GPT2Config, PreTrainedConfig, PreTrainedModel

from shieldwall.models.families.base import Family, TinyShape


class GPT2(Family):
    """`GPT2LMHeadModel`."""

    embeddings = ("transformer.wte", "transformer.wpe", "transformer.drop")
    layers = "transformer.h"
    head = ("transformer.ln_f", "lm_head")
    dropout_fields = ("embd_pdrop", "resid_pdrop", "attn_pdrop")

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return GPT2Config(
            n_layer=shape.layers,
            n_embd=shape.width,
            n_head=shape.heads,
            vocab_size=shape.vocabulary,
            n_positions=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            attn_pdrop=0.0,
        )

    def embed(self, model: PreTrainedModel, tokens_BT: Tensor, positions_BT: Tensor | None) -> Tensor:
        body = model.transformer
        hidden_BTD = body.wte(tokens_BT)
        hidden: Tensor = body.drop(hidden_BTD + body.wpe(self.positions(hidden_BTD, positions_BT)))
        return hidden

    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        logits: Tensor = model.lm_head(model.transformer.ln_f(hidden_BTD))
        return logits
