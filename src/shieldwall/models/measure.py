"""Measured cost of a model's units: seconds and bytes for one micro-batch.

Layers of one kind cost the same, so one of each kind is built with random weights, run forward and backward a few
times, and thrown away; the median counts. Costs decide the cut and the plan, never the bits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton, tied_names, trained_names
from shieldwall.models.span import StageSpan
from shieldwall.models.stage import StageModel, stage_shapes

_REPEATS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """What one unit costs for one micro-batch."""

    forward_s: float
    backward_s: float
    saved_bytes: int
    """What autograd keeps between forward and backward."""
    entry_bytes: int
    """What the unit is given: all that gradient checkpointing keeps between forward and backward."""
    trained_bytes: int
    """Of the parameters that training changes."""
    frozen_bytes: int
    """Of the parameters that it leaves alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCosts:
    """Cost of the embeddings, of each layer, and of the head with the loss."""

    embeddings: UnitCost
    layers: tuple[UnitCost, ...]
    head: UnitCost


def measure_model(settings: ModelSettings, *, device: torch.device, batch: int, block_tokens: int) -> ModelCosts:
    """Measure every kind of unit of a model on `device`.

    Args:
        settings: how stages are built.
        device: where to measure.
        batch: sequences in a micro-batch.
        block_tokens: tokens in a sequence.

    Cost: about four forward and backward passes of one layer, the embeddings and the head; memory for those alone.
    """
    bench = _Bench(settings, device, batch, block_tokens)
    kinds = _layer_kinds(settings.config)
    by_kind = {kind: bench.layer(index) for index, kind in reversed(list(enumerate(kinds)))}
    return ModelCosts(
        embeddings=bench.embeddings(),
        layers=tuple(by_kind[kind] for kind in kinds),
        head=bench.head(),
    )


def _layer_kinds(config: PreTrainedConfig) -> list[str]:
    kinds = getattr(config, "layer_types", None)
    return list(kinds) if kinds else ["layer"] * int(config.num_hidden_layers)


class _Bench:
    """Builds single units and times them."""

    def __init__(self, settings: ModelSettings, device: torch.device, batch: int, block_tokens: int) -> None:
        config = settings.config
        self._settings, self._device = settings, device
        self._skeleton: PreTrainedModel = build_skeleton(settings)
        self._layers = int(config.num_hidden_layers)
        generator = torch.Generator().manual_seed(0)
        shape = (batch, block_tokens)
        self._tokens = torch.randint(int(config.vocab_size), shape, generator=generator).to(device)
        hidden_BTD = torch.randn(*shape, int(config.hidden_size), generator=generator)
        self._hidden = hidden_BTD.to(device=device, dtype=settings.dtype)

    def embeddings(self) -> UnitCost:
        unit = self._build(StageSpan(0, 2, 0, 0))
        return self._measure(unit, lambda: unit.forward(self._tokens, _no_seed))

    def layer(self, index: int) -> UnitCost:
        unit = self._build(StageSpan(1, 3, index, index + 1))
        return self._measure(unit, lambda: unit.forward(self._input(), _no_seed))

    def head(self) -> UnitCost:
        unit = self._build(StageSpan(1, 2, self._layers, self._layers))
        if tied_names(self._skeleton):
            unit.tie_head(self._build(StageSpan(0, 2, 0, 0)))
        return self._measure(unit, lambda: unit.loss(unit.forward(self._input(), _no_seed), self._tokens))

    def _input(self) -> Tensor:
        return self._hidden.detach().requires_grad_(True)

    def _build(self, span: StageSpan) -> StageModel:
        generator = torch.Generator().manual_seed(0)
        drawn = {
            name: torch.randn(shape, generator=generator) * 0.02
            for name, shape in stage_shapes(self._skeleton, span).items()
        }
        trained = set(trained_names(self._skeleton))
        state = {name: tensor for name, tensor in drawn.items() if name in trained}
        frozen = {name: tensor for name, tensor in drawn.items() if name not in trained}
        unit = StageModel(self._settings, span, state, frozen=frozen, device=self._device)
        unit.set_training(False)
        return unit

    def _measure(self, unit: StageModel, forward: Callable[[], Tensor]) -> UnitCost:
        saved_bytes = _saved_bytes(unit, forward)
        forward_s, backward_s = [], []
        for _ in range(_REPEATS):
            start = self._clock()
            output = forward()
            middle = self._clock()
            _backward(output)
            forward_s.append(middle - start)
            backward_s.append(self._clock() - middle)
        return UnitCost(
            forward_s=statistics.median(forward_s),
            backward_s=statistics.median(backward_s),
            saved_bytes=saved_bytes,
            entry_bytes=self._tokens.nbytes if unit.span.embeddings else self._hidden.nbytes,
            trained_bytes=sum(parameter.nbytes for parameter in unit.parameters.values()),
            frozen_bytes=sum(parameter.nbytes for parameter in unit.frozen.values()),
        )

    def _clock(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _backward(output: Tensor) -> None:
    """Run backward where anything is trained: frozen embeddings have nothing to do."""
    if output.requires_grad:
        torch.autograd.backward(output, torch.ones_like(output))


def _no_seed(unit: int) -> int:
    return unit


def _saved_bytes(unit: StageModel, forward: Callable[[], Tensor]) -> int:
    """Bytes of distinct storage that autograd keeps, parameters left out; also warms the unit up."""
    weights = [*unit.parameters.values(), *unit.frozen.values()]
    own = {parameter.untyped_storage().data_ptr() for parameter in weights}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        output = forward()
    _backward(output)
    return sum(kept.values())
