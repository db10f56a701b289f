"""Type and shape of a tensor on the wire, known and weighed before a byte of it is accepted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from shieldwall.core.roots import dtype_name
from shieldwall.transport.codec.garbled import garbled

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        dtype_name(dtype): dtype
        for dtype in (
            torch.float32,
            torch.bfloat16,
            torch.float16,
            torch.float64,
            torch.int64,
            torch.int32,
            torch.int8,
            torch.uint8,
            torch.bool,
        )
    }
)
"""Types that travel."""

_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class TensorForm:
    """Type and shape of one tensor.

    Raises:
        TransportError: SW-T107; a type that does not travel, or a shape that is none.
    """

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise garbled("a tensor's type", f"one of: {', '.join(DTYPES)}", repr(self.dtype)[:80])
        if len(self.shape) > _MAX_DIMENSIONS or any(size < 0 for size in self.shape):
            raise garbled(
                "a tensor's shape", f"at most {_MAX_DIMENSIONS} sizes, none below 0", repr(self.shape[:9])[:80]
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's content."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def form_of(tensor: Tensor) -> TensorForm:
    """Type and shape of a tensor."""
    return TensorForm(dtype_name(tensor.dtype), tuple(tensor.shape))


def empty_like(form: TensorForm) -> Tensor:
    """A tensor of that form on the CPU, for bytes to be written into; what it holds until then is nothing's."""
    return torch.empty(form.shape, dtype=DTYPES[form.dtype])
