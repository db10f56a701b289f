"""What compression does to numbers, anew in numpy, and an unsplit model that rounds where a cut would be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_BLOCK = 128


def round_at_borders(layers: Sequence[nn.Module], cut: Sequence[int], kind: str) -> None:
    """Round what goes forward out of the last layer of each stage but the last, and the gradient that comes back.

    Raises:
        ValueError: a stage without layers; its border is no layer's.
    """
    if 0 in cut:
        raise ValueError(f"{cut}: each stage needs a layer")

    def round_output(module: nn.Module, given: Any, output: Any) -> Any:
        del module, given
        if isinstance(output, tuple):
            return (_Border.apply(output[0], kind), *output[1:])  # type: ignore[no-untyped-call]
        return _Border.apply(output, kind)  # type: ignore[no-untyped-call]

    for behind in list(accumulate(cut))[:-1]:
        layers[behind - 1].register_forward_hook(round_output)


class _Border(torch.autograd.Function):
    """Rounds both ways; to the gradient the rounding itself is nothing (straight-through)."""

    @staticmethod
    def forward(context: Any, value: Tensor, kind: str) -> Tensor:
        context.kind = kind
        return rounded(value, kind)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return rounded(gradient, context.kind), None


def rounded(value: Tensor, kind: str) -> Tensor:
    """What arrives of `value`, in its own type."""
    whole = np.ascontiguousarray(value.detach().to(torch.float32).numpy())
    found = _as_bfloat16(whole) if kind == "bf16" else _as_integers(whole)
    return torch.from_numpy(found).to(value.dtype)


def _as_bfloat16(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The upper half of each finite float32, to nearest, ties to even."""
    bits = numbers.view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return upper.astype(np.uint32).view(np.float32)


def _as_integers(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Row by row, block by block: an integer in [-127, 127] times the block's scale."""
    found = np.empty_like(numbers)
    for row, into in zip(numbers.reshape(-1, numbers.shape[-1]), found.reshape(-1, numbers.shape[-1]), strict=True):
        for start in range(0, len(row), _BLOCK):
            block = row[start : start + _BLOCK]
            scale = max(np.abs(block).max() / np.float32(127), np.finfo(np.float32).tiny)
            into[start : start + _BLOCK] = np.rint(block / scale).astype(np.int8).astype(np.float32) * scale
    return found
