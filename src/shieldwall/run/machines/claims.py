"""What workers say of their machines, and that they cannot go on: heard by the run's muster, in their own names alone.

A speed is a stranger's claim. It decides how much the worker is given and nothing else; who claims too much is late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from shieldwall.core.messages import Able, Unable
from shieldwall.run.machines.inability import KINDS
from shieldwall.transport.base import Endpoint


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's."""

    speed: float
    """How many times as fast as the initiator."""
    memory_bytes: int
    """What it may take of memory before it holds anything."""


class Claims:
    """Everybody's, as they were made last.

    Args:
        own_passes_per_s: of the probe on the initiator's machine.
        on_unable: told who cannot go on, and of which kind that is.
    """

    def __init__(self, own_passes_per_s: float, on_unable: Callable[[str, str], Awaitable[None]]) -> None:
        self._own_passes_per_s = own_passes_per_s
        self._on_unable = on_unable
        self._made: dict[str, Claim] = {}

    @property
    def made(self) -> Mapping[str, Claim]:
        """By worker."""
        return dict(self._made)

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Who of them has said nothing that can be used."""
        return [name for name in names if name not in self._made]

    def forget(self, name: str) -> None:
        """Somebody has come anew and is to say it anew."""
        self._made.pop(name, None)

    async def listen(self, endpoint: Endpoint) -> None:
        """Hear what comes, until cancelled; what is said in another's name, or is no claim, is not heard."""
        while True:
            message = await endpoint.receive()
            if not isinstance(message, Able | Unable) or message.host != endpoint.sender:
                continue
            if isinstance(message, Unable):
                if message.kind in KINDS:
                    await self._on_unable(message.host, message.kind)
            elif message.passes_per_s > 0 and message.memory_bytes >= 0:
                speed = round(message.passes_per_s / self._own_passes_per_s, 3)
                if 0 < speed < float("inf"):
                    self._made[message.host] = Claim(speed, message.memory_bytes)
