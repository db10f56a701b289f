"""Roots of tensors and of states: BLAKE3 over the exact bytes, in hexadecimal.

A root binds what was sent or held, bit for bit: type, shape and bytes all go in.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from blake3 import blake3
from torch import Tensor

from shieldwall.core.messages import StageState
from shieldwall.core.roots import dtype_name, tensor_bytes, with_length

_WORTH_THREADS_BYTES = 4 << 20
"""Below it several threads take longer than one."""


def tensor_root(tensor: Tensor) -> str:
    """Root of one tensor: dtype and shape as text, each behind its length, then the bytes in row-major order."""
    shape = ",".join(str(size) for size in tensor.shape)
    content = tensor_bytes(tensor)
    threads = torch.get_num_threads() if content.nbytes >= _WORTH_THREADS_BYTES else 1
    digest = blake3(with_length(dtype_name(tensor.dtype)) + with_length(shape), max_threads=threads)
    return digest.update(content).hexdigest()


def tensor_roots(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, str]:
    """Root of each tensor, by `prefix` and name."""
    return {f"{prefix}{name}": tensor_root(tensor) for name, tensor in tensors.items()}


def root_of_roots(roots: Mapping[str, str]) -> str:
    """Root over named roots in sorted name order; each name and root behind its length."""
    return blake3(b"".join(with_length(name) + with_length(roots[name]) for name in sorted(roots))).hexdigest()


def state_root(state: StageState, fixed: Mapping[str, str]) -> str:
    """Root of a stage's whole state (design 4.7).

    Args:
        state: parameters, moments and counters, which training changes.
        fixed: `fixed_roots` of what it does not change; hashed once for each assignment.
    """
    moments = {f"moment {key} {name}": moment for name, kept in state.moments.items() for key, moment in kept.items()}
    return root_of_roots({**fixed, **tensor_roots(state.parameters, "parameter "), **tensor_roots(moments)})


def listed_root(roots: Mapping[str, str], fixed: Mapping[str, str]) -> str:
    """`state_root` of a state from the roots of its tensors by the names of `flatten_state`, before any of them is
    there; `is_state` must hold of the names."""
    return root_of_roots({**{name.replace("/", " "): root for name, root in roots.items()}, **fixed})


def fixed_roots(frozen: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> dict[str, str]:
    """Roots of a stage's frozen base model and of its buffers, for `state_root`."""
    return {**tensor_roots(frozen, "frozen "), **tensor_roots(buffers, "buffer ")}
