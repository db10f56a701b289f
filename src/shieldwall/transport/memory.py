"""The transport inside one process: messages are handed over as they are, tensors without a copy."""

from __future__ import annotations

from shieldwall.core.messages import Message
from shieldwall.transport.base import name_taken, unknown_peer
from shieldwall.transport.queued import QueuedEndpoint


class MemoryEndpoint(QueuedEndpoint):
    """A peer's end in one process."""

    def __init__(self, name: str, network: MemoryNetwork) -> None:
        super().__init__(name)
        self._network = network

    async def send(self, destination: str, message: Message) -> None:
        self._network.deliver(self._name, destination, message)


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
