"""The part of a model that one stage computes.

A stage is a skeleton of the whole model in which only the stage's own parameters have memory; the modules that run
are Hugging Face's. Parameters keep their names in the whole model, so a stage's state needs no translation when it is
loaded, sent, checked or saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from shieldwall.core.errors import ModelError
from shieldwall.core.seeds import EMBEDDINGS_UNIT
from shieldwall.models.adapters import is_adapter, merge, placed_parameters
from shieldwall.models.families import find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import place_parameter, stage_skeleton, tied_names
from shieldwall.models.span import StageSpan

SeedOfUnit = Callable[[int], int]
"""Gives the seed that torch's generator takes before a unit of the model runs."""


class StageModel:
    """One stage's modules and parameters.

    Args:
        settings: how all stages build their parts.
        span: which part this is.
        state: name to tensor of what training changes; the tensors become the parameters, without a copy where type
            and device are right.
        frozen: name to tensor of what training leaves alone: the base model under adapters, else nothing.
        device: where the stage computes.

    Raises:
        ModelError: SW-M112, `state` and `frozen` do not hold exactly what the stage owns, in the right shapes.
    """

    def __init__(
        self,
        settings: ModelSettings,
        span: StageSpan,
        state: Mapping[str, Tensor],
        *,
        frozen: Mapping[str, Tensor] | None = None,
        device: torch.device,
    ) -> None:
        self.span = span
        self.family = find_family(settings.config.model_type, "the model's configuration")
        self._settings = settings
        self._device = device
        self._model = stage_skeleton(settings, self.family.layers, span.layers)
        self._dropout = settings.dropout
        held = self._adopt(state, frozen or {})
        self.parameters = {name: parameter for name, parameter in held.items() if parameter.requires_grad}
        self.frozen = {name: parameter for name, parameter in held.items() if not parameter.requires_grad}
        self.family.restore_buffers(self._model, device)
        self._arguments: dict[tuple[int, ...], dict[str, Any]] = {}

    def _adopt(self, state: Mapping[str, Tensor], frozen: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
        owned = _owned_parameters(self._model, self.span)
        wanted = {name: (tuple(empty.shape), empty.requires_grad) for name, (_, empty) in owned.items()}
        given = {name: (tuple(tensor.shape), True) for name, tensor in state.items()}
        given |= {name: (tuple(tensor.shape), False) for name, tensor in frozen.items()}
        _require_same(wanted, given, self.span)
        adopted = {}
        for name, (place, empty) in owned.items():
            trained = empty.requires_grad
            dtype = torch.float32 if is_adapter(name) else self._settings.dtype
            tensor = (state if trained else frozen)[name].to(device=self._device, dtype=dtype).contiguous()
            adopted[name] = nn.Parameter(tensor, requires_grad=trained)
            place_parameter(self._model, place, adopted[name])
        if self.span.embeddings and self.span.head:
            for head_name, name in tied_names(self._model).items():
                place_parameter(self._model, head_name, adopted[name])
        return adopted

    @property
    def buffers(self) -> dict[str, Tensor]:
        """What the modules hold besides parameters, by name: tables that the configuration decides."""
        return {name: buffer for name, buffer in self._model.named_buffers() if buffer.device.type != "meta"}

    def tie_head(self, first: StageModel) -> dict[str, nn.Parameter]:
        """Let the head share its memory with the embeddings of the first stage, where the model ties them.

        Returns:
            Name of each shared weight that is trained to the head's own handle of it, which gathers the head's share of
            the gradient apart; empty where nothing is tied or this stage holds not only the head.
        """
        if self.span.embeddings or not self.span.head:
            return {}
        handles = {}
        for head_name, name in tied_names(self._model).items():
            if name in first.frozen:
                place_parameter(self._model, head_name, first.frozen[name])
                continue
            handles[name] = nn.Parameter(first.parameters[name].data)
            place_parameter(self._model, head_name, handles[name])
        return handles

    def set_training(self, training: bool) -> None:
        """Switch dropout on or off."""
        if self._model.training is not training:
            self._model.train(training)

    def forward(self, value: Tensor, seed_of_unit: SeedOfUnit, positions_BT: Tensor | None = None) -> Tensor:
        """What the stage makes of one micro-batch.

        Args:
            value: tokens (B, T) for the first stage, else the activation (B, T, D) of the stage before.
            seed_of_unit: gives each unit's seed; asked only where the model draws random numbers.
            positions_BT: position of each token within its example, where a row holds several; such tokens see nothing
                of the examples beside theirs. None: each row is one sequence.

        Returns:
            The activation (B, T, D), or logits (B, T, V) from the last stage.
        """
        with self._arithmetic():
            if self.span.embeddings:
                self._seed(seed_of_unit, EMBEDDINGS_UNIT)
                value = self.family.embed(self._model, value, positions_BT)
            arguments = self._layer_arguments(value, positions_BT)
            layers = self._model.get_submodule(self.family.layers)
            for index in self.span.layers:
                self._seed(seed_of_unit, index + 1)
                value = self.family.call_layer(layers[index], index, value, arguments)
            return self.family.logits(self._model, value) if self.span.head else value

    def loss(self, logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
        """Mean negative log-likelihood (nats, scalar) of the labelled tokens, by the model's own loss.

        Labels stand where their tokens do; the model's loss shifts them. -100 is no target.
        """
        with self._arithmetic():
            loss: Tensor = self._model.loss_function(
                logits=logits_BTV, labels=labels_BT, vocab_size=self._model.config.vocab_size
            )
        return loss

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """The base model's weights with the adapters added, by name; the stage is of no use for training afterwards."""
        layers = self._model.get_submodule(self.family.layers)
        for index in self.span.layers:
            merge(layers[index])
        return {name: parameter.data for name, parameter in self.frozen.items()}

    def _arithmetic(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._settings.autocast else nullcontext()

    def _seed(self, seed_of_unit: SeedOfUnit, unit: int) -> None:
        if self._dropout and self._model.training:
            _generator(self._device).manual_seed(seed_of_unit(unit))

    @torch.no_grad()
    def _layer_arguments(self, hidden_BTD: Tensor, positions_BT: Tensor | None) -> dict[str, Any]:
        """The layers' arguments; those of whole rows depend on the shape alone and are kept."""
        hidden_BTD = hidden_BTD.detach()
        if positions_BT is not None:
            return self.family.layer_arguments(self._model, hidden_BTD, positions_BT)
        shape = tuple(hidden_BTD.shape)
        if shape not in self._arguments:
            self._arguments.clear()
            self._arguments[shape] = self.family.layer_arguments(self._model, hidden_BTD, None)
        return self._arguments[shape]


def _generator(device: torch.device) -> torch.Generator:
    """Where dropout on `device` draws. `torch.manual_seed` would seed it too, and walk the stack for other devices."""
    if device.type == "cuda":
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    return torch.default_generator


def stage_shapes(skeleton: PreTrainedModel, span: StageSpan) -> dict[str, tuple[int, ...]]:
    """Name to shape of what a stage owns, in the whole model's order.

    A tied head is not owned by the last stage: the weights are the first stage's, which is where they are updated.
    """
    return {name: tuple(empty.shape) for name, (_, empty) in _owned_parameters(skeleton, span).items()}


def _owned_parameters(skeleton: PreTrainedModel, span: StageSpan) -> dict[str, tuple[str, nn.Parameter]]:
    """`placed_parameters` of the stage alone."""
    family = find_family(skeleton.config.model_type, "the model's configuration")
    prefixes = [f"{family.layers}.{index}." for index in span.layers]
    prefixes += [f"{path}." for path in family.embeddings] if span.embeddings else []
    prefixes += [f"{path}." for path in family.head] if span.head else []
    return {name: placed for name, placed in placed_parameters(skeleton).items() if name.startswith(tuple(prefixes))}


def _require_same(wanted: Mapping[str, Any], given: Mapping[str, Any], span: StageSpan) -> None:
    if given == wanted:
        return
    wrong = min(name for name in {*wanted, *given} if wanted.get(name) != given.get(name))
    raise ModelError(
        "SW-M112",
        f"the state handed to stage {span.index} does not fit it",
        where=f"stage {span.index}, {wrong}",
        expected=_describe(wanted.get(wrong), "no such tensor"),
        got=_describe(given.get(wrong), "nothing"),
        remedy="check that the weights belong to this model and this cut",
    )


def _describe(tensor: tuple[tuple[int, ...], bool] | None, absent: str) -> str:
    return absent if tensor is None else f"{tensor[0]}, {'trained' if tensor[1] else 'frozen'}"
