"""Telling that memory ran out from every other error: Python, torch and the operating system each say it differently.

torch has a class of its own for accelerators alone; on the CPU its allocator raises a plain RuntimeError with a text.
"""

from __future__ import annotations

import errno

import torch

_TEXTS = (
    "DefaultCPUAllocator",
    "not enough memory",
    "std::bad_alloc",
    "can't allocate memory",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was not enough memory for something."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)
