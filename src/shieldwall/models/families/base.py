"""What a family of models states about itself so that it can be cut.

Transformers gives every model as one object whose `forward` runs embeddings, layers and head in a row; it offers no
way to run a part of them. A family names the parts and says how each is called; the parts stay Hugging Face's own
modules. Shapes: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyShape:
    """Size of a small random model, for `tiny:FAMILY`."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    positions: int
    end_token: int


class Family(ABC):
    """One family: where its parts are and how they are called.

    A new family is one module with one subclass; `tests/models/test_families.py` runs over the registry and holds it
    against the whole model, bit for bit.
    """

    embeddings: ClassVar[tuple[str, ...]]
    """Dotted names of the modules that make the first hidden state from tokens."""
    layers: ClassVar[str]
    """Dotted name of the list of layers."""
    head: ClassVar[tuple[str, ...]]
    """Dotted names of the modules that make logits from the last hidden state."""
    recomputed: ClassVar[tuple[str, ...]] = ()
    """Modules without weights that each stage builds for itself from the configuration, such as rotary tables."""
    attention: ClassVar[str] = "sdpa"
    """Attention implementation that `auto` stands for."""
    dropout_fields: ClassVar[tuple[str, ...]]
    """Fields of the configuration that hold dropout probabilities."""

    @abstractmethod
    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        """Configuration of a small model of this family; dropout 0."""

    @abstractmethod
    def embed(self, model: PreTrainedModel, tokens_BT: Tensor) -> Tensor:
        """First hidden state (B, T, D), dropout of the embeddings included."""

    @abstractmethod
    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        """Logits (B, T, V) from the last layer's output."""

    def layer_arguments(self, model: PreTrainedModel, hidden_BTD: Tensor) -> dict[str, Any]:
        """What every layer is called with besides the hidden state; a function of shape, dtype and device alone."""
        return {"attention_mask": self.causal_mask(model, hidden_BTD)}

    def call_layer(self, layer: nn.Module, hidden_BTD: Tensor, arguments: dict[str, Any]) -> Tensor:
        """Output (B, T, D) of one layer."""
        output: Tensor = layer(hidden_BTD, **arguments)
        return output

    def check(self, config: PreTrainedConfig) -> None:  # noqa: B027 (most families refuse nothing)
        """Refuse configurations of this family that cannot be cut without changing the result.

        Raises:
            ModelError: SW-M102.
        """

    def causal_mask(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Any:
        """The mask that the whole model would hand to its layers for unpadded text."""
        return create_causal_mask(
            config=model.config, inputs_embeds=hidden_BTD, attention_mask=None, past_key_values=None
        )

    @staticmethod
    def positions(hidden_BTD: Tensor) -> Tensor:
        """Position numbers (1, T) of unpadded text."""
        return torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device).unsqueeze(0)
