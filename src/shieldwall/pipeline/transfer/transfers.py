"""How states travel in a run: who is in another process, and how much may be under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shieldwall.pipeline.transfer.chunks import CHUNK_BYTES, WINDOW_BYTES, cost_of
from shieldwall.pipeline.transfer.progress import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers:
    """How states travel.

    Args:
        is_far: whether a host is in another process.
        state_bytes: the most that a stage's state can have.
        tell: told in words of what takes long, and of what need not be sent.
        chunk_bytes: the most that one message carries.
        window_bytes: what may be asked of a host, or sent to it, before it has answered.
        tell_every_s: a transfer that takes longer is told of, so often.
    """

    is_far: Callable[[str], bool]
    state_bytes: int
    tell: Callable[[str], None]
    chunk_bytes: int = CHUNK_BYTES
    window_bytes: int = WINDOW_BYTES
    tell_every_s: float = 5.0

    def has_room(self, under_way: Iterable[int]) -> bool:
        """Whether one more chunk may be under way beside chunks of these sizes."""
        return sum(cost_of(size) for size in under_way) < self.window_bytes

    def told(self, what: str, size_bytes: int) -> Told:
        """Tells how far a transfer is."""
        return Told(what, size_bytes, self.tell, self.tell_every_s)


NEAR = Transfers(is_far=lambda _: False, state_bytes=0, tell=lambda _: None)
"""Everybody is in this process."""
