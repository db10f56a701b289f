"""Torch's own optimizers, built for one step on copies.

The update has two phases: the new state must stand beside the old one until the commit. So each step clones what it
will change, lets torch's optimizer step on the clones, and keeps them as the prepared state. The bits are those of
the same torch optimizer stepping in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shieldwall.core.messages import StageState

Kind = Literal["adamw", "sgd"]
Variant = Literal["fused", "loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """Which of torch's optimizers, and with what.

    Args:
        kind: `torch.optim.AdamW` or `torch.optim.SGD`.
        variant: `fused` kernels, or the plain `loop` over tensors; their bits differ, so it belongs to the class.
        weight_decay: on every parameter.
        betas: AdamW's decay of the moments.
        eps: AdamW's term in the denominator.
        momentum: SGD's momentum.
    """

    kind: Kind = "adamw"
    variant: Variant = "fused"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0

    @property
    def name(self) -> str:
        """Name for the arithmetic class."""
        return f"{self.kind}/{self.variant}"

    @property
    def moments(self) -> int:
        """Tensors of a parameter's size that the optimizer remembers."""
        if self.kind == "adamw":
            return 2
        return 1 if self.momentum else 0

    def build(self, parameters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:
        """Torch's optimizer over `parameters`."""
        fused = self.variant == "fused"
        if self.kind == "adamw":
            return torch.optim.AdamW(
                parameters,
                lr=learning_rate,
                betas=self.betas,
                eps=self.eps,
                weight_decay=self.weight_decay,
                foreach=False,
                fused=fused,
            )
        return torch.optim.SGD(
            parameters,
            lr=learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            foreach=False,
            fused=fused,
        )


def build_next_state(
    current: StageState, gradients: Mapping[str, Tensor], settings: OptimizerSettings, learning_rate: float
) -> StageState:
    """The state after one step; `current` is not touched.

    Args:
        current: parameters and moments before the step.
        gradients: the step's clipped gradients by name; parameters without one stay as they are.
        settings: the optimizer.
        learning_rate: of this step.

    Returns:
        New tensors for all that has a gradient; the rest is shared with `current`.
    """
    copies = {name: current.parameters[name].detach().clone() for name in gradients}
    optimizer = settings.build(list(copies.values()), learning_rate) if copies else None
    for name, copy in copies.items():
        copy.grad = gradients[name]
        if optimizer and name in current.moments:
            optimizer.state[copy] = {key: moment.clone() for key, moment in current.moments[name].items()}
    if optimizer:
        optimizer.step()
    stepped = {name: _tensors_only(optimizer.state[copy]) for name, copy in copies.items()} if optimizer else {}
    for copy in copies.values():
        copy.grad = None
    return StageState(
        parameters={name: copies.get(name, old) for name, old in current.parameters.items()},
        moments={**current.moments, **{name: kept for name, kept in stepped.items() if kept}},
    )


def _tensors_only(state: Mapping[str, object]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}
