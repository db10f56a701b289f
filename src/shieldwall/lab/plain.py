"""Plain training of an unsplit model, as anybody would write it: the yardstick for bits and for speed.

Imports torch and transformers alone, so that nothing of this project can help it to the right answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

SeedOf = Callable[[int, int, int], int]
"""Seed of torch's generator before a unit runs: a function of step, micro-batch and unit."""


def train_plain(
    model: PreTrainedModel,
    steps: Sequence[Sequence[Tensor]],
    *,
    optimizer: torch.optim.Optimizer,
    learning_rates: Sequence[float],
    clip_norm: float,
    clipped_apart: Sequence[Sequence[nn.Parameter]] = (),
    units: Sequence[nn.Module] = (),
    seed_of: SeedOf | None = None,
    all_forwards_first: bool = False,
    autocast: bool = False,
    positions_BT: Tensor | None = None,
) -> list[float]:
    """Train in place and return each step's mean loss in nats.

    Args:
        model: a causal language model.
        steps: for each step its micro-batches of tokens (B, T).
        optimizer: over those of `model.parameters()` that are trained.
        learning_rates: one for each step.
        clip_norm: largest norm; 0 switches clipping off.
        clipped_apart: groups of parameters that are each clipped by their own norm; none: all by the global one.
        units: embeddings' dropout (or any module that runs before it draws), then the layers; with `seed_of` each is
            reseeded before it runs.
        seed_of: the published function that dropout is drawn from.
        all_forwards_first: keep all graphs of a step before the first backward pass, as a pipeline does.
        autocast: run forward under torch's autocast to bfloat16.
        positions_BT: of every micro-batch, where rows hold several examples: 0 again at the start of each.
    """
    place = {"step": 0, "micro_batch": 0}
    handles = _reseed_units(units, seed_of, place) if seed_of else []
    apart = {} if positions_BT is None else {"position_ids": positions_BT}
    losses = []
    for step, micro_batches in enumerate(steps):
        place["step"] = step
        losses.append(_accumulate(model, micro_batches, place, all_forwards_first, autocast, apart))
        for clipped in (clipped_apart or [list(model.parameters())]) if clip_norm else ():
            torch.nn.utils.clip_grad_norm_(clipped, clip_norm, foreach=False)
        for group in optimizer.param_groups:
            group["lr"] = learning_rates[step]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    for handle in handles:
        handle.remove()
    return losses


def _accumulate(
    model: PreTrainedModel,
    micro_batches: Sequence[Tensor],
    place: dict[str, int],
    all_forwards_first: bool,
    autocast: bool,
    apart: Mapping[str, Tensor],
) -> float:
    total = 0.0
    waiting = []
    for index, tokens_BT in enumerate(micro_batches):
        place["micro_batch"] = index
        with torch.autocast(tokens_BT.device.type, torch.bfloat16, enabled=autocast):
            loss = model(input_ids=tokens_BT, labels=tokens_BT, use_cache=False, **apart).loss
        total += float(loss.detach())
        waiting.append(loss / len(micro_batches))
        if not all_forwards_first:
            waiting.pop().backward()
    for loss in waiting:
        loss.backward()
    return total / len(micro_batches)


def _reseed_units(units: Sequence[nn.Module], seed_of: SeedOf, place: Mapping[str, int]) -> list[Any]:
    def reseed(unit: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            torch.manual_seed(seed_of(place["step"], place["micro_batch"], unit))

        return hook

    return [module.register_forward_pre_hook(reseed(unit)) for unit, module in enumerate(units)]
