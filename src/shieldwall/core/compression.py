"""Tensors on their way between stages in fewer bytes: what is packed, sent and signed, and what comes out of it.

    none    the tensor itself, bit for bit
    bf16    each number rounded to bfloat16: half the bytes of float32
    int8    each row (the last dimension) in blocks of 128: a number becomes an integer in [-127, 127] times its block's
            scale; about a quarter of the bytes of float32

            |<- D integers, 1 byte each ->|<- one float32 scale for each block ->|        a row as it is sent

Every step is an elementwise operation of IEEE 754, rounded to nearest even: no order of sums decides a bit (on CUDA not
measured yet). To pack what was unpacked gives the packed bytes again: nothing drifts where a tensor is passed on.

The scale is the block's largest magnitude / 127, but never below the smallest normal float32. So a block of zeros needs
no case of its own, and no denormal is ever made.

Source: blockwise scales by largest magnitude, Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR
2022 (arXiv 2110.02861); 8-bit activations between stages, Ryabinin et al., "SWARM Parallelism", ICML 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from shieldwall.core.errors import TransportError
from shieldwall.core.roots import dtype_name

CompressionKind = Literal["none", "bf16", "int8"]

BLOCK = 128
"""Numbers that share a scale; the last block of a row may have fewer."""
_LARGEST = 127.0
_SCALE_BYTES = 4
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class Compression:
    """How the tensors of a run cross its borders: activations forward, gradients backward.

    `dtype` is the type of what a stage makes and of what `unpack` gives. Where a tensor holds NaN or infinity, that
    block (of int8) or that number (of bf16) is not finite afterwards either. Numbers beyond 3.38e38, at the end of
    float32, may become infinite.
    """

    kind: CompressionKind = "none"
    dtype: torch.dtype = torch.float32

    @property
    def sent_dtype(self) -> torch.dtype | None:
        """Type of what is sent; None where that is whatever the stages make."""
        return {"none": None, "bf16": torch.bfloat16, "int8": torch.int8}[self.kind]

    def sent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what is sent for a tensor of that shape."""
        if self.kind != "int8":
            return shape
        return (*shape[:-1], shape[-1] + _SCALE_BYTES * _blocks_in(shape[-1]))

    def sent_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of what is sent for a tensor of that shape."""
        return torch.Size(self.sent_shape(shape)).numel() * (self.sent_dtype or self.dtype).itemsize

    def pack(self, tensor: Tensor) -> Tensor:
        """What is sent for `tensor` (..., D), D > 0: the same object under none, else a contiguous one of its own."""
        if self.kind == "int8":
            return _pack_rows(tensor)
        return tensor.to(torch.bfloat16).contiguous() if self.kind == "bf16" else tensor

    def unpack(self, sent: Tensor) -> Tensor:
        """What every receiver works with, (..., D): the same object under none.

        Raises:
            TransportError: SW-T107; nothing that `pack` makes has this type and shape.
        """
        if self.kind == "none":
            return sent
        if sent.dtype != self.sent_dtype or not sent.dim():
            raise self._unreadable(sent)
        if self.kind == "bf16":
            return sent.to(self.dtype)
        width = sent.shape[-1] - _SCALE_BYTES * -(-sent.shape[-1] // (BLOCK + _SCALE_BYTES))
        if width < 1 or self.sent_shape((width,)) != tuple(sent.shape[-1:]):
            raise self._unreadable(sent)
        return _unpack_rows(sent, width).to(self.dtype)

    def _unreadable(self, sent: Tensor) -> TransportError:
        return TransportError(
            "SW-T107",
            "a message cannot be read",
            where=f'a tensor under transport.compression = "{self.kind}"',
            expected=f"{dtype_name(self.sent_dtype or self.dtype)}, each row with the scales of its blocks",
            got=f"{dtype_name(sent.dtype)} {tuple(sent.shape)}",
            state="nothing of it was used",
            remedy="see that both ends run the same version of shieldwall; if they do, the peer lies",
        )

    def __str__(self) -> str:
        return f"int8/{BLOCK}" if self.kind == "int8" else self.kind


PLAIN = Compression()
"""Tensors travel bit for bit."""


def _pack_rows(tensor: Tensor) -> Tensor:
    """(..., D) to (..., D + 4 * blocks) int8."""
    blocks = _in_blocks(tensor.to(torch.float32))
    lowest, highest = torch.aminmax(blocks, dim=-1, keepdim=True)
    largest = torch.maximum(highest, -lowest)
    # Divided by a tensor: by a number, an accelerator multiplies with its reciprocal, which rounds otherwise.
    scales = (largest / torch.full_like(largest, _LARGEST)).clamp_(min=_SMALLEST_SCALE)
    integers = (blocks / scales).round_().to(torch.int8).flatten(-2)[..., : tensor.shape[-1]]
    return torch.cat([integers, scales.squeeze(-1).contiguous().view(torch.int8)], dim=-1)


def _unpack_rows(sent: Tensor, width: int) -> Tensor:
    """(..., D + 4 * blocks) int8 to (..., D) float32."""
    scales = sent[..., width:].clone(memory_format=torch.contiguous_format).view(torch.float32)
    numbers = _in_blocks(sent[..., :width]) * scales.unsqueeze(-1)
    return numbers.flatten(-2)[..., :width].contiguous()


def _in_blocks(rows: Tensor) -> Tensor:
    """(..., D) to (..., blocks, 128), the last block of each row filled up with zeros."""
    missing = -rows.shape[-1] % BLOCK
    whole = pad(rows, (0, missing)) if missing else rows
    return whole.reshape(*rows.shape[:-1], whole.shape[-1] // BLOCK, BLOCK)


def _blocks_in(width: int) -> int:
    return -(-width // BLOCK)
