"""Clipping by a norm, with the bits of `torch.nn.utils.clip_grad_norm_`, of the whole model or of each stage by itself.

Torch takes the norm of each parameter's gradient and then the norm of these norms, in the model's order. The norms of
the parameters are computed where the gradients are; only they travel, and the coordinator puts them in the whole
model's order, tied weights once: under the stage that owns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

ClipBy = Literal["model", "stage"]
"""Whose norm decides: one of all gradients, or for each stage that of its own parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """How gradients are clipped.

    By stage is how the seed paper's code does it, where each stage is an optimizer of its own: one stage's large
    gradients then leave the others' as they are. Source: Lu et al., arXiv 2312.00843.
    """

    norm: float
    """Largest norm; 0 switches clipping off."""
    by: ClipBy = "model"

    def coefficients(
        self, norms: Mapping[str, Tensor], stage_of: Mapping[str, int], stages: Iterable[int]
    ) -> dict[int, float]:
        """Factor on every gradient of each of `stages`, at most 1.

        Args:
            norms: of each parameter's gradient (0-dim); parameters without one are left out.
            stage_of: name of each parameter to the stage that owns it, in the whole model's order.
            stages: those that are wanted; one without gradients is not clipped.
        """
        if self.by == "model":
            return dict.fromkeys(stages, clip_coefficient(global_norm(norms, stage_of), self.norm))
        coefficients = {}
        for stage in stages:
            own = [name for name, owner in stage_of.items() if owner == stage and name in norms]
            coefficients[stage] = clip_coefficient(global_norm(norms, own), self.norm) if own else 1.0
        return coefficients


def global_norm(norms: Mapping[str, Tensor], whole_order: Iterable[str]) -> Tensor:
    """Norm (0-dim) of all gradients from the norms of each, taken in `whole_order`."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([norms[name] for name in whole_order if name in norms]))
    return norm


def clip_coefficient(norm: Tensor, clip_norm: float) -> float:
    """Factor on every gradient that brings their norm down to `clip_norm`; 1 where it is below.

    `clip_norm` 0 switches clipping off.
    """
    if clip_norm == 0.0:
        return 1.0
    return float(torch.clamp(clip_norm / (norm + 1e-6), max=1.0))
