"""A worker's endpoint where others hear what comes before its host does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shieldwall.core.messages import Message
from shieldwall.transport import Endpoint


class Overheard:
    """Passes everything on.

    Args:
        endpoint: the worker's.
        hears: told of each message, in this order.
    """

    def __init__(self, endpoint: Endpoint, hears: Sequence[Callable[[Message], None]]) -> None:
        self._endpoint = endpoint
        self._hears = hears

    @property
    def name(self) -> str:
        return self._endpoint.name

    async def send(self, destination: str, message: Message) -> None:
        await self._endpoint.send(destination, message)

    async def receive(self) -> Message:
        message = await self._endpoint.receive()
        for hear in self._hears:
            hear(message)
        return message

    @property
    def sender(self) -> str:
        return self._endpoint.sender

    @property
    def arrived_s(self) -> float:
        return self._endpoint.arrived_s
