"""What kinds of attacks measure a tensor by, and directions that last."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """The same numbers in float32 or wider, in which attacks compute."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def mean_and_deviation(tensor_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Of each feature over all tokens of all sequences: two tensors (D,), in float32 or wider."""
    rows_ND = widened(tensor_BTD).flatten(0, -2)
    return rows_ND.mean(dim=0), rows_ND.std(dim=0, correction=0)


def draw_direction(tensor_BTD: Tensor, generator: torch.Generator) -> Tensor:
    """A direction (D,) with root mean square 1, in float32 or wider, drawn on the CPU and put beside the tensor."""
    drawn_D = torch.randn(tensor_BTD.shape[-1], generator=generator)
    direction_D = drawn_D / drawn_D.square().mean().sqrt()
    return direction_D.to(tensor_BTD.device, torch.promote_types(tensor_BTD.dtype, torch.float32))
