"""Tells how far a transfer is, where it takes long."""

from __future__ import annotations

import time
from collections.abc import Callable

_MEGABYTE = 1_000_000


class Told:
    """One transfer.

    Args:
        what: what happens, in words: "worker-5 receives stage 3".
        total_bytes: of all that has to go over.
        tell: told in words.
        every_s: not before so many seconds, and not more often.
    """

    def __init__(self, what: str, total_bytes: int, tell: Callable[[str], None], every_s: float) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._tell = tell
        self._every_s = every_s
        self._told_s = time.monotonic()

    def at(self, done_bytes: int) -> None:
        """So many bytes are over."""
        if time.monotonic() - self._told_s < self._every_s or done_bytes >= self._total_bytes:
            return
        self._told_s = time.monotonic()
        self._tell(f"{self._what}: {megabytes(done_bytes)} of {megabytes(self._total_bytes)} MB")


def megabytes(size_bytes: int) -> str:
    """In millions of bytes, with one decimal below ten."""
    size = size_bytes / _MEGABYTE
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"
