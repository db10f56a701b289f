"""The coordinator's messages: orders out, reports in, whatever their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from shieldwall.core.messages import Message, Note
from shieldwall.pipeline.answers import Answer, asked_of, given_by
from shieldwall.pipeline.dropped import Dropped
from shieldwall.transport import Endpoint

R = TypeVar("R", bound=Message)


class Desk:
    """Sends orders and sorts what comes back.

    A report counts where an order asked its sender for it, once: whoever the transport says it is from must be the
    host that it names, and it must be about what was ordered. Everything else is dropped. Statements go to `file` the
    moment they come, whoever brings them: their signature is their proof. Reports that nobody waits for yet are kept
    until somebody does.

    Args:
        endpoint: the coordinator's end of the transport.
        file: takes statements.
    """

    def __init__(self, endpoint: Endpoint, file: Callable[[Note], None]) -> None:
        self._endpoint = endpoint
        self._file = file
        self._kept: deque[Message] = deque()
        self._asked: list[Answer] = []
        self.dropped = Dropped(endpoint.name)

    async def send(self, host: str, order: Message) -> None:
        """Give an order to one host; from now on its answer counts."""
        answer = asked_of(host, order)
        if answer:
            self._asked.append(answer)
        await self._endpoint.send(host, order)

    async def send_all(self, hosts: Iterable[str], order: Message) -> None:
        """Give the same order to several hosts."""
        for host in hosts:
            await self.send(host, order)

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
            if not self._was_asked_for(message):
                self.dropped.add(self._endpoint.sender, message)
            elif isinstance(message, wanted) and fits(message):
                return message
            else:
                self._kept.append(message)

    async def gather(self, wanted: type[R], count: int) -> list[R]:
        """The next `count` reports of one kind."""
        return [await self.take(wanted) for _ in range(count)]

    def forget(self) -> None:
        """Drop the reports that nobody has taken; what was asked for so far is not asked for any more."""
        self._kept.clear()
        self._asked.clear()

    def _was_asked_for(self, report: Message) -> bool:
        """Whether a report that has just come answers an order; no other will answer the same."""
        answer = given_by(self._endpoint.sender, report)
        if answer is None or answer not in self._asked:
            return False
        self._asked.remove(answer)
        return True
