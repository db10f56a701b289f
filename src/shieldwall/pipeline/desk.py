"""The coordinator's messages: orders out, reports in, whatever their order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from shieldwall.core.messages import Came, Gone, Leaving, Message, Note, Stop
from shieldwall.pipeline.answers import Answer, asked_of, given_by
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.pipeline.dropped import Dropped
from shieldwall.pipeline.dues import Dues
from shieldwall.transport import Endpoint

R = TypeVar("R", bound=Message)


class HostsLost(Exception):  # noqa: N818 (control flow, never shown)
    """Hosts that an answer is wanted from cannot be reached any more, and their state is gone.

    Args:
        hosts: their names.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self.hosts = frozenset(hosts)
        super().__init__(", ".join(sorted(self.hosts)))


class Desk:
    """Sends orders and sorts what comes back.

    A report counts where an order asked its sender for it, once: whoever the transport says it is from must be the
    host that it names, and it must be about what was ordered. Everything else is dropped. Statements go to `file` the
    moment they come, whoever brings them: their signature is their proof. Reports that nobody waits for yet are kept
    until somebody does. News of the transport about hosts come from the coordinator's own side; in anybody else's name
    they are dropped. That it wants to leave a host says itself.

    Args:
        endpoint: the coordinator's end of the transport.
        file: takes statements.
        is_needed: whether a host holds something; that others are gone interrupts nobody.
        deadlines: of answers; who misses one is lost. None where nobody can withhold anything.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        file: Callable[[Note], None],
        is_needed: Callable[[str], bool] = lambda _: True,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._file = file
        self._is_needed = is_needed
        self._kept: deque[Message] = deque()
        self._asked: list[Answer] = []
        self.dues = Dues(deadlines) if deadlines else None
        self.dropped = Dropped(endpoint.name)
        self.gone: dict[str, float] = {}
        """Hosts that cannot be reached, and for how long nothing had been heard of each when that was noticed; and
        those that missed a deadline, and for how long they had been waited for."""
        self.why: dict[str, str] = {}
        """Why each of them is gone, in the words of the news, or "deadline"."""
        self.overdue: dict[str, str] = {}
        """Everybody who ever missed a deadline, and what was waited for."""
        self.met: set[str] = set()
        """Everybody who was ever said to have come."""
        self.came: list[str] = []
        """Hosts that are there since, holding nothing; who is back is in both until nothing is asked of what it was."""
        self.leaving: dict[str, None] = {}
        """Hosts that want to go, in the order in which they said so."""

    async def send(self, host: str, order: Message) -> None:
        """Give an order to one host; from now on its answer counts.

        Raises:
            HostsLost: it cannot be reached any more.
        """
        if host in self.gone:
            raise HostsLost([host])
        answer = asked_of(host, order)
        if answer:
            self._asked.append(answer)
            if self.dues:
                self.dues.ask(answer, order)
        await self._endpoint.send(host, order)

    async def send_all(self, hosts: Iterable[str], order: Message) -> None:
        """Give the same order to several hosts.

        Raises:
            HostsLost: one of them cannot be reached any more; others may have the order.
        """
        for host in hosts:
            await self.send(host, order)

    async def take(self, wanted: type[R], fits: Callable[[R], bool] = lambda _: True) -> R:
        """The next report of one kind, waiting for it.

        Raises:
            HostsLost: a host cannot be reached any more, be it one that owes the report or not.
        """
        while True:
            report = await self.next(wanted, fits=lambda each: isinstance(each, wanted) and fits(each))  # type: ignore[arg-type]
            if isinstance(report, wanted):
                return report

    async def next(self, *wanted: type[Message], fits: Callable[[Message], bool] = lambda _: True) -> Message | None:
        """The next report of one of the kinds, or None as soon as a statement has come in meanwhile, and where there
        are deadlines every now and then.

        Raises:
            HostsLost: a host cannot be reached any more, or an answer is overdue.
        """
        for place, kept in enumerate(self._kept):
            if isinstance(kept, wanted) and fits(kept):
                del self._kept[place]
                return kept
        while True:
            message = await self._receive()
            if message is None:
                return None
            if isinstance(message, Note):
                self._file(message)
                return None
            if isinstance(message, Gone | Came) and self._endpoint.sender == self._endpoint.name:
                self._hear(message)
                continue
            if isinstance(message, Leaving) and self._endpoint.sender == message.host:
                self.leaving[message.host] = None
                continue
            if not self._was_asked_for(message):
                self.dropped.add(self._endpoint.sender, message)
            elif isinstance(message, wanted) and fits(message):
                return message
            else:
                self._kept.append(message)

    async def gather(self, wanted: type[R], count: int) -> list[R]:
        """The next `count` reports of one kind."""
        return [await self.take(wanted) for _ in range(count)]

    def give_up(self, host: str, order: Message) -> None:
        """The answer to an order is not wanted any more; it is dropped, come or not."""
        answer = asked_of(host, order)
        self._asked = [each for each in self._asked if each != answer]
        self._kept = deque(each for each in self._kept if given_by(host, each) != answer)
        if self.dues and answer:
            self.dues.give_up(answer)

    def forget(self) -> None:
        """Drop the reports that nobody has taken; what was asked for so far is not asked for any more."""
        self._kept.clear()
        self._asked.clear()
        if self.dues:
            self.dues.forget()

    @property
    def waited_s(self) -> float:
        """Seconds that were spent waiting for messages so far; 0 where there are no deadlines."""
        return self.dues.clock_s if self.dues else 0.0

    def lose(self, host: str, what: str, waited_s: float) -> None:
        """A host has kept something back for so long: nothing is asked of it any more, and nothing of it counts."""
        self.gone[host], self.why[host], self.overdue[host] = waited_s, "deadline", what
        self.leaving.pop(host, None)
        self._asked = [answer for answer in self._asked if answer[0] != host]
        if self.dues:
            self.dues.drop(host)

    async def let_go(self, host: str) -> None:
        """Tell a host to end, if it is there; who missed a deadline is."""
        if host not in self.gone or host in self.overdue:
            await self._endpoint.send(host, Stop())

    async def _receive(self) -> Message | None:
        """The next message, or None after a while without one where there are deadlines.

        Raises:
            HostsLost: an answer is overdue.
        """
        if self.dues is None:
            return await self._endpoint.receive()
        if missed := self.dues.missed():
            for host, late in missed.items():
                self.lose(host, late.what, late.waited_s)
            raise HostsLost(missed)
        start_s = time.monotonic()
        try:
            async with asyncio.timeout(self.dues.look_s):
                return await self._endpoint.receive()
        except TimeoutError:
            return None
        finally:
            self.dues.waited(time.monotonic() - start_s)

    def _hear(self, news: Gone | Came) -> None:
        if isinstance(news, Came):
            self.met.add(news.host)
            self.came.append(news.host)
            return
        self.came = [host for host in self.came if host != news.host]
        self.leaving.pop(news.host, None)
        if self.dues:
            self.dues.drop(news.host)
        if news.host not in self.gone or news.host not in self.overdue:
            self.gone[news.host], self.why[news.host] = news.silent_s, news.kind
        if self._is_needed(news.host) or any(host == news.host for host, *_ in self._asked):
            raise HostsLost([news.host])

    def _was_asked_for(self, report: Message) -> bool:
        """Whether a report that has just come answers an order; no other will answer the same."""
        answer = given_by(self._endpoint.sender, report)
        if answer is None or answer not in self._asked:
            return False
        self._asked.remove(answer)
        if self.dues:
            self.dues.settle(answer)
        return True
