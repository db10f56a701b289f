"""The coordinator's messages: orders out, reports in, whatever their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from shieldwall.core.messages import Message, Note
from shieldwall.transport import Endpoint

R = TypeVar("R", bound=Message)


class Desk:
    """Sends orders and sorts what comes back.

    Statements go to `file` the moment they come; reports that nobody waits for yet are kept until somebody does.

    Args:
        endpoint: the coordinator's end of the transport.
        file: takes statements.
    """

    def __init__(self, endpoint: Endpoint, file: Callable[[Note], None]) -> None:
        self._endpoint = endpoint
        self._file = file
        self._kept: deque[Message] = deque()

    async def send(self, host: str, order: Message) -> None:
        """Give an order to one host."""
        await self._endpoint.send(host, order)

    async def send_all(self, hosts: Iterable[str], order: Message) -> None:
        """Give the same order to several hosts."""
        for host in hosts:
            await self._endpoint.send(host, order)

    async def take(self, wanted: type[R], fits: Callable[[R], bool] = lambda _: True) -> R:
        """The next report of one kind, waiting for it."""
        while True:
            report = await self.next(wanted, fits=lambda each: isinstance(each, wanted) and fits(each))  # type: ignore[arg-type]
            if isinstance(report, wanted):
                return report

    async def next(self, *wanted: type[Message], fits: Callable[[Message], bool] = lambda _: True) -> Message | None:
        """The next report of one of the kinds, or None as soon as a statement has come in meanwhile."""
        for place, message in enumerate(self._kept):
            if isinstance(message, wanted) and fits(message):
                del self._kept[place]
                return message
        while True:
            message = await self._endpoint.receive()
            if isinstance(message, Note):
                self._file(message)
                return None
            if isinstance(message, wanted) and fits(message):
                return message
            self._kept.append(message)

    async def gather(self, wanted: type[R], count: int) -> list[R]:
        """The next `count` reports of one kind."""
        return [await self.take(wanted) for _ in range(count)]

    def forget(self) -> None:
        """Drop the reports that nobody has taken."""
        self._kept.clear()
