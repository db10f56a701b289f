"""Keeping memory between steps.

A pipeline frees all activations at the end of a step and needs as many at the next. The C library of Linux gives large
freed blocks back to the system, which then hands them out again page by page: about a tenth of a step on two cores
(`docs/results/throughput.md`). Told to keep them, it does not.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed for the next allocation, for the rest of the process.

    Peak memory stays what it is; between steps the process stays at its peak. Commands do this at their start;
    programs that use shieldwall as a library decide for themselves.

    Returns:
        Whether the C library took the request; False elsewhere than on Linux with glibc.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, _NEVER) for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD))
