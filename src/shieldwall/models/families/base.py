"""What a family of models states about itself so that it can be cut.

Transformers gives every model as one object whose `forward` runs embeddings, layers and head in a row; it offers no
way to run a part of them. A family names the parts and says how each is called; the parts stay Hugging Face's own
modules. Shapes: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask


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
    stored_names: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Parameters that checkpoints hold under another name, as transformers writes them: name here to name there."""
    attentions: ClassVar[tuple[str, ...]] = ("sdpa", "eager")
    """Attention implementations that the family has; the first is what `auto` stands for."""
    dropout_fields: ClassVar[tuple[str, ...]]
    """Fields of the configuration that hold dropout probabilities."""

    @abstractmethod
    def tiny_config(self, shape: TinyShape) -> PreTrainedConfig:
        """Configuration of a small model of this family; dropout 0."""

    @abstractmethod
    def embed(self, model: PreTrainedModel, tokens_BT: Tensor, positions_BT: Tensor | None) -> Tensor:
        """First hidden state (B, T, D), dropout of the embeddings included.

        `positions_BT` is given where a row holds several examples: it starts again at 0 with each of them.
        """

    @abstractmethod
    def logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        """Logits (B, T, V) from the last layer's output."""

    def layer_arguments(
        self, model: PreTrainedModel, hidden_BTD: Tensor, positions_BT: Tensor | None
    ) -> dict[str, Any]:
        """What the layers are called with besides the hidden state.

        A function of the hidden state's shape, dtype and device, and of the positions, alone.
        """
        return {"attention_mask": self.causal_mask(model, hidden_BTD, positions_BT)}

    def call_layer(self, layer: nn.Module, index: int, hidden_BTD: Tensor, arguments: dict[str, Any]) -> Tensor:
        """Output (B, T, D) of the layer with the global number `index`, from what `layer_arguments` gave."""
        del index
        output: Tensor = layer(hidden_BTD, **arguments)
        return output

    def restore_buffers(self, model: PreTrainedModel, device: torch.device) -> None:
        """Build again on `device` what the configuration decides and no checkpoint holds."""
        for path in self.recomputed:
            old = model.get_submodule(path)
            parent, _, leaf = path.rpartition(".")
            build: Callable[..., nn.Module] = type(old)
            setattr(model.get_submodule(parent), leaf, build(config=model.config).to(device))

    def check(self, config: PreTrainedConfig) -> None:  # noqa: B027 (most families refuse nothing)
        """Refuse configurations of this family that cannot be cut without changing the result.

        Raises:
            ModelError: SW-M102.
        """

    def causal_mask(
        self, model: PreTrainedModel, hidden_BTD: Tensor, positions_BT: Tensor | None, *, sliding: bool = False
    ) -> Any:
        """The mask that the whole model would hand to its layers: nothing later, and nothing of another example.

        Padding on the right needs no mask: no token that counts ever looks at it.
        """
        make = create_sliding_window_causal_mask if sliding else create_causal_mask
        return make(
            config=model.config,
            inputs_embeds=hidden_BTD,
            attention_mask=None,
            past_key_values=None,
            position_ids=positions_BT,
        )

    @staticmethod
    def positions(hidden_BTD: Tensor, positions_BT: Tensor | None) -> Tensor:
        """Position numbers: those given, else (1, T) from 0."""
        if positions_BT is not None:
            return positions_BT
        return torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device).unsqueeze(0)
