"""Clipping by the global norm, with the bits of `torch.nn.utils.clip_grad_norm_` on the unsplit model.

Torch takes the norm of each parameter's gradient and then the norm of these norms, in the model's order. The norms of
the parameters are computed where the gradients are; only they travel, and the coordinator puts them in the whole
model's order, tied weights once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def global_norm(norms: Mapping[str, Tensor], whole_order: Sequence[str]) -> Tensor:
    """Norm (0-dim) of all gradients from the norms of each, taken in `whole_order`."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([norms[name] for name in whole_order if name in norms]))
    return norm


def clip_coefficient(norm: Tensor, clip_norm: float) -> float:
    """Factor on every gradient that brings the global norm down to `clip_norm`; 1 where it is below.

    `clip_norm` 0 switches clipping off.
    """
    if clip_norm == 0.0:
        return 1.0
    return float(torch.clamp(clip_norm / (norm + 1e-6), max=1.0))
