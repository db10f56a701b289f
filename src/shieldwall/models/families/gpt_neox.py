"""GPT-NeoX (Pythia too): rotary positions on a part of each head, dropout after the embeddings, head tied or not."""

from __future__ import annotations

from types import MappingProxyType

from transformers import GPTNeoXConfig, PreTrainedConfig

from shieldwall.models.families.base import TinyShape
from shieldwall.models.families.rotary import RotaryFamily


class GPTNeoX(RotaryFamily):
    """`GPTNeoXForCausalLM`, with parallel residuals or without."""

    embeddings = ("gpt_neox.embed_in", "gpt_neox.emb_dropout")
    layers = "gpt_neox.layers"
    head = ("gpt_neox.final_layer_norm", "lm_head")
    recomputed = ("gpt_neox.rotary_emb",)
    stored_names = MappingProxyType({"lm_head.weight": "embed_out.weight"})
    dropout_fields = ("hidden_dropout", "attention_dropout")

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return GPTNeoXConfig(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_attention_heads=shape.heads,
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
        )
