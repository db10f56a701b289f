"""OPT: learned positions with an offset, optional projections around the layers, tied head."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import OPTConfig, PreTrainedConfig, PreTrainedModel

from shieldwall.core.errors import ModelError
from shieldwall.models.families.base import Family, TinyShape


class OPT(Family):
    """`OPTForCausalLM`, the 350M layout (norm after the layer, narrower word embeddings) included."""

    embeddings = ("model.decoder.embed_tokens", "model.decoder.embed_positions", "model.decoder.project_in")
    layers = "model.decoder.layers"
    head = ("model.decoder.final_layer_norm", "model.decoder.project_out", "lm_head")
    dropout_fields = ("dropout", "attention_dropout")

    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        return OPTConfig(
            num_hidden_layers=shape.layers,
            hidden_size=shape.width,
            word_embed_proj_dim=shape.width,
            ffn_dim=4 * shape.width,
            num_attention_heads=shape.heads,
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.positions,
            bos_token_id=shape.end_token,
            eos_token_id=shape.end_token,
            pad_token_id=None,
            dropout=0.0,
            attention_dropout=0.0,
            layerdrop=0.0,
        )

    def check(self, config: PreTrainedConfig) -> None:
        if config.layerdrop > 0:
            raise ModelError(
                "SW-M102",
                "layerdrop cannot be kept when a model is cut",
                where="layerdrop in the model's config.json",
                expected="0.0: the whole model draws once for all layers, which no single stage can repeat",
                got=f"{config.layerdrop}",
                remedy='set "layerdrop": 0.0 in the model\'s config.json',
            )

    def embed(self, model: PreTrainedModel, tokens_BT: Tensor, positions_BT: Tensor | None) -> Tensor:
        decoder = model.model.decoder
        words_BTE = decoder.embed_tokens(tokens_BT)
        everywhere_BT = torch.ones(tokens_BT.shape, device=tokens_BT.device)
        numbers_BT = self.positions(words_BTE, positions_BT).expand(tokens_BT.shape)
        position_BTD = decoder.embed_positions(everywhere_BT, 0, position_ids=numbers_BT)
        if decoder.project_in is not None:
            words_BTE = decoder.project_in(words_BTE)
        hidden: Tensor = words_BTE + position_BTD
        return hidden

    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        decoder = model.model.decoder
        if decoder.final_layer_norm is not None:
            hidden_BTD = decoder.final_layer_norm(hidden_BTD)
        if decoder.project_out is not None:
            hidden_BTD = decoder.project_out(hidden_BTD)
        logits: Tensor = model.lm_head(hidden_BTD).contiguous()
        return logits
