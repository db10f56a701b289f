"""Hashes that stand for weights and configurations."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shieldwall.core.errors import CheckpointError


def weights_root(folder: Path) -> str:
    """SHA-256 over all tensors of `folder/*.safetensors` in sorted name order, in hexadecimal.

    Each tensor goes in as name, dtype (`float32`), shape (`2,3`), each as UTF-8 text behind its length as u32
    big-endian, then its bytes, little-endian. One tensor is in memory at a time.

    Raises:
        CheckpointError: SW-K101, no safetensors there; SW-K102, a file is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            "SW-K101",
            "no weights found",
            where=str(folder),
            expected="at least one .safetensors file",
            got="none",
            remedy="give the folder of a saved model, such as runs/NAME/model",
        )
    return tensors_root({name: path for path in files for name in tensor_names(path)})


def tensors_root(home: Mapping[str, Path]) -> str:
    """The same hash over the named tensors, each in the file that it is named with.

    Raises:
        CheckpointError: SW-K102; a file is damaged.
    """
    digest = hashlib.sha256()
    with ExitStack() as stack:
        opened = {path: stack.enter_context(open_safetensors(path)) for path in dict.fromkeys(home.values())}
        for name in sorted(home):
            _digest_tensor(digest, name, opened[home[name]].get_tensor(name))
    return digest.hexdigest()


def _digest_tensor(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    for text in (name, dtype_name(tensor.dtype), ",".join(str(size) for size in tensor.shape)):
        digest.update(with_length(text))
    digest.update(tensor_bytes(tensor))


def config_root(resolved: dict[str, Any]) -> str:
    """SHA-256 over a resolved configuration as JSON with sorted keys and no blanks, in hexadecimal."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype's name without its module: `float32`, `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The exact bytes of a tensor in row-major order, without a copy where it is contiguous on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def with_length(text: str) -> bytes:
    """A text in UTF-8 behind its length (4 bytes, the highest first): joined texts cannot run into each other."""
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors in one safetensors file.

    Raises:
        CheckpointError: SW-K102; the file is damaged.
    """
    with open_safetensors(path) as handle:
        return list(handle.keys())


def open_safetensors(path: Path) -> Any:
    """`safetensors.safe_open` for torch on the CPU, with our error where the file is cut short or garbled.

    Raises:
        CheckpointError: SW-K102; the file is damaged.
    """
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "SW-K102",
            f"{path.name} cannot be read",
            where=str(path),
            expected="a whole safetensors file",
            got=f"{path.stat().st_size if path.exists() else 0} bytes; {error}",
            remedy="copy or download the file again, or resume from an older checkpoint",
        ) from error
