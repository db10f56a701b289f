"""Roots of tensors and of states: BLAKE3 over the exact bytes, in hexadecimal.

A root binds what was sent or held, bit for bit: type, shape and bytes all go in.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from blake3 import blake3
from torch import Tensor

from shieldwall.core.messages import StageState
from shieldwall.core.roots import dtype_name, tensor_bytes


def tensor_root(tensor: Tensor) -> str:
    """Root of one tensor: dtype and shape as text, each behind its length, then the bytes in row-major order."""
    shape = ",".join(str(size) for size in tensor.shape)
    digest = blake3(_with_length(dtype_name(tensor.dtype)) + _with_length(shape))
    digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_roots(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, str]:
    """Root of each tensor, by `prefix` and name."""
    return {f"{prefix}{name}": tensor_root(tensor) for name, tensor in tensors.items()}


def root_of_roots(roots: Mapping[str, str]) -> str:
    """Root over named roots in sorted name order; each name and root behind its length."""
    digest = blake3()
    for name in sorted(roots):
        digest.update(_with_length(name) + _with_length(roots[name]))
    return digest.hexdigest()


def state_root(state: StageState, fixed: Mapping[str, str]) -> str:
    """Root of a stage's whole state (design 4.7).

    Args:
        state: parameters, moments and counters, which training changes.
        fixed: `fixed_roots` of what it does not change; hashed once for each assignment.
    """
    moments = {f"moment {key} {name}": moment for name, kept in state.moments.items() for key, moment in kept.items()}
    return root_of_roots({**fixed, **tensor_roots(state.parameters, "parameter "), **tensor_roots(moments)})


def fixed_roots(frozen: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> dict[str, str]:
    """Roots of a stage's frozen base model and of its buffers, for `state_root`."""
    return {**tensor_roots(frozen, "frozen "), **tensor_roots(buffers, "buffer ")}


def _with_length(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw
