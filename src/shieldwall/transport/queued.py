"""An end whose messages are put into a queue by whoever passes them on; how it sends, each kind says for itself."""

from __future__ import annotations

import asyncio
import time

from shieldwall.core.messages import Message


class QueuedEndpoint:
    """What every end inside this process has in common.

    Args:
        name: the peer's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._arrived: asyncio.Queue[tuple[str, Message, float]] = asyncio.Queue()
        self._sender = ""
        self._arrived_s = 0.0

    @property
    def name(self) -> str:
        return self._name

    async def receive(self) -> Message:
        self._sender, message, self._arrived_s = await self._arrived.get()
        return message

    @property
    def sender(self) -> str:
        return self._sender

    @property
    def arrived_s(self) -> float:
        return self._arrived_s

    def accept(self, sender: str, message: Message) -> None:
        """Put a message of `sender` at the end of what this peer has yet to receive."""
        self._arrived.put_nowait((sender, message, time.perf_counter()))
