"""The transport inside one process: messages are handed over as they are, tensors without a copy."""

from __future__ import annotations

import asyncio
import time

from shieldwall.core.messages import Message
from shieldwall.transport.base import name_taken, unknown_peer


class MemoryEndpoint:
    """A peer's end in one process."""

    def __init__(self, name: str, network: MemoryNetwork) -> None:
        self._name = name
        self._network = network
        self._arrived: asyncio.Queue[tuple[str, Message, float]] = asyncio.Queue()
        self._sender = ""
        self._arrived_s = 0.0

    @property
    def name(self) -> str:
        return self._name

    async def send(self, destination: str, message: Message) -> None:
        self._network.deliver(self._name, destination, message)

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


class MemoryNetwork:
    """Peers of one process by name."""

    def __init__(self) -> None:
        self._endpoints: dict[str, MemoryEndpoint] = {}

    def join(self, name: str) -> MemoryEndpoint:
        """The endpoint of a new peer.

        Raises:
            TransportError: SW-T102; the name is taken.
        """
        if name in self._endpoints:
            raise name_taken(name, self._endpoints)
        self._endpoints[name] = MemoryEndpoint(name, self)
        return self._endpoints[name]

    def deliver(self, sender: str, destination: str, message: Message) -> None:
        """Hand a message of `sender` to `destination` at once.

        Raises:
            TransportError: SW-T101; nobody is called that.
        """
        if destination not in self._endpoints:
            raise unknown_peer(destination, self._endpoints)
        self._endpoints[destination].accept(sender, message)
