"""What the families with rotary positions share: every stage computes the rotations for itself.

They differ in their configuration, in which layers look back through a sliding window, and in details inside
Hugging Face's own modules, which nobody here needs to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from shieldwall.models.families.base import Family

FULL, SLIDING = "full_attention", "sliding_attention"


def grouped_heads(heads: int) -> int:
    """Key and value heads of a small model with so many heads: one for two, where that goes."""
    return heads // 2 if heads % 2 == 0 else heads


class RotaryFamily(Family):
    """Embeddings, layers with rotary positions, final norm, head: the layout that Llama began."""

    embeddings: ClassVar[tuple[str, ...]] = ("model.embed_tokens",)
    layers = "model.layers"
    head: ClassVar[tuple[str, ...]] = ("model.norm", "lm_head")
    recomputed: ClassVar[tuple[str, ...]] = ("model.rotary_emb",)
    dropout_fields: ClassVar[tuple[str, ...]] = ("attention_dropout",)

    def attention_kinds(self, config: PreTrainedConfig) -> Sequence[str]:
        """For each layer of the whole model, whether it looks back at everything (`FULL`) or through a sliding window
        (`SLIDING`)."""
        return [FULL] * int(config.num_hidden_layers)

    def embed(self, model: PreTrainedModel, tokens_BT: Tensor, positions_BT: Tensor | None) -> Tensor:
        """What the modules named in `embeddings` make of the tokens, one after another."""
        del positions_BT
        value = tokens_BT
        for path in self.embeddings:
            value = model.get_submodule(path)(value)
        return value

    def layer_arguments(
        self, model: PreTrainedModel, hidden_BTD: Tensor, positions_BT: Tensor | None
    ) -> dict[str, Any]:
        kinds = self.attention_kinds(model.config)
        masks = {
            kind: self.causal_mask(model, hidden_BTD, positions_BT, sliding=kind == SLIDING) for kind in set(kinds)
        }
        position_ids = self.positions(hidden_BTD, positions_BT)
        rotations = model.get_submodule(self.recomputed[0])(hidden_BTD, position_ids=position_ids)
        return {
            "attention_mask": [masks[kind] for kind in kinds],
            "position_ids": position_ids,
            "position_embeddings": rotations,
        }

    def call_layer(self, layer: nn.Module, index: int, hidden_BTD: Tensor, arguments: dict[str, Any]) -> Tensor:
        mask = arguments["attention_mask"][index]
        output: Tensor = layer(hidden_BTD, **{**arguments, "attention_mask": mask})
        return output

    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        norm, head = self.head
        logits: Tensor = model.get_submodule(head)(model.get_submodule(norm)(hidden_BTD))
        return logits
