"""Whether anything was really changed: bit for bit, so that a lie that rounds away is not counted as one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shieldwall.core.messages import StageState, TensorFrame


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have one dtype, one shape and the same bytes; 0.0 and -0.0 differ, a NaN equals itself."""
    if first is second:
        return True
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(_bytes_of(first), _bytes_of(second.to(first.device)))


def same_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """The same for named tensors."""
    return first.keys() == second.keys() and all(same_bits(first[name], second[name]) for name in first)


def same_states(first: StageState, second: StageState) -> bool:
    """The same for parameters and moments."""
    if not same_tensors(first.parameters, second.parameters) or first.moments.keys() != second.moments.keys():
        return False
    return all(same_tensors(kept, second.moments[name]) for name, kept in first.moments.items())


def same_frames(first: TensorFrame, second: TensorFrame) -> bool:
    """The same for a frame: its address, its header and its tensor."""
    return (
        (first.slot, first.source, first.destination) == (second.slot, second.source, second.destination)
        and first.header == second.header
        and same_bits(first.tensor, second.tensor)
    )


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
