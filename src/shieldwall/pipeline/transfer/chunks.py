"""Bytes of tensors: the pieces in which a state travels, and how they come out of tensors and into them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.messages import Outline
from shieldwall.core.roots import dtype_name
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.transport.codec import TensorForm, empty_like

CHUNK_BYTES = 4 << 20
"""The most that one message carries of a state."""
WINDOW_BYTES = 32 << 20
"""What may be asked of one host, or sent to it, before it has answered: a fifth of a second of a gigabit."""
LEAST_COST_BYTES = 64 << 10
"""What a chunk counts in the window at least, so that small tensors do not wait for each other, and are bounded too."""


def outline_of(tensor: Tensor) -> Outline:
    """Root, type and shape of a tensor."""
    return Outline(tensor_root(tensor), dtype_name(tensor.dtype), tuple(tensor.shape))


def size_of(outline: Outline) -> int:
    """Bytes of the tensor.

    Raises:
        TransportError: SW-T107; a type that does not travel, or a shape that is none.
    """
    return TensorForm(outline.dtype, outline.shape).nbytes


def total_bytes(outlines: Mapping[str, Outline]) -> int:
    """Bytes of all of them.

    Raises:
        TransportError: SW-T107; one of them is no tensor that travels.
    """
    return sum(size_of(outline) for outline in outlines.values())


def empty_of(outline: Outline) -> Tensor:
    """A tensor on the CPU for bytes to be written into."""
    return empty_like(TensorForm(outline.dtype, outline.shape))


def content_of(tensor: Tensor) -> Tensor:
    """The tensor's bytes (N,) uint8 in row-major order, in the same memory where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def chunk_of(tensor: Tensor, offset: int, size_bytes: int) -> Tensor:
    """At most so many bytes (N,) uint8 from byte `offset` on, on the CPU."""
    return content_of(tensor)[offset : offset + size_bytes].cpu()


def is_chunk(content: Tensor, size_bytes: int) -> bool:
    """Whether what has come is so many bytes."""
    return content.dtype == torch.uint8 and tuple(content.shape) == (size_bytes,)


def refuse_excess(where: str, announced_bytes: int, allowed_bytes: int) -> None:
    """Look at what is said to come before memory is taken for it.

    Raises:
        TransportError: SW-T108; it is more than is allowed.
    """
    if announced_bytes > allowed_bytes:
        raise TransportError(
            "SW-T108",
            "a peer sends more than the plan has use for",
            where=where,
            expected=f"at most {allowed_bytes:,} bytes",
            got=f"{announced_bytes:,} bytes",
            state="no memory was taken for it",
            remedy="nothing, if the peer is a stranger's; else compare the versions at both ends",
        )


def cost_of(size_bytes: int) -> int:
    """What a chunk counts in the window."""
    return max(size_bytes, LEAST_COST_BYTES)
