"""How one worker's letters go to another that listens: over a link of the two while it stands, relayed otherwise."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import grpc

from shieldwall.core.errors import ShieldwallError
from shieldwall.core.messages import Peer
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.dialer import Dialer
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import Link

_LOOK_S = 0.1
_NOT_YET_S = 0.2
"""When to try again where the peer was there, but letters are under way over the relay, or the connection was lost."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker does without a link to another.

    Args:
        fall_back_s: from when a link cannot be had, or is lost, to when letters are relayed.
        answer_s: for one address to answer.
        retry_s: from then to the next try; doubled each time.
        longest_retry_s: at most.
    """

    fall_back_s: float = 2.0
    answer_s: float = 1.0
    retry_s: float = 1.0
    longest_retry_s: float = 30.0


class _NotYet(Exception):  # noqa: N818 (control flow inside this file, never shown)
    """The peer is there, and has not got all yet that was relayed to it."""


class Way:
    """To one worker in one life of it.

    Args:
        peer: its name.
        place: its life and its addresses.
        stream: number of the stream to it.
        relay: the link to the initiator.
        open_channel: a channel to one of its addresses, at which nobody else is let through the handshake.
        silence_s: a line over which nothing has come for so long is given up.
        patience: how long it may take.
        on_change: told whenever `direct` or `why` has become another.
    """

    def __init__(
        self,
        peer: str,
        place: Peer,
        stream: int,
        *,
        relay: Link,
        open_channel: Callable[[str], grpc.aio.Channel],
        silence_s: float,
        patience: Patience,
        on_change: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.place = place
        self._stream = stream
        self._relay = relay
        self._open_channel = open_channel
        self._silence_s = silence_s
        self._patience = patience
        self._on_change = on_change
        self._addresses = deque(place.addresses)
        self._serial = 0
        """Of the letter that was sent last."""
        self._sending = asyncio.Lock()
        self._link: Link | None = None
        """Over which letters go, or went until it was given up."""
        self._left: deque[Letter] = deque()
        """Of a link that was given up: to be relayed before anything else."""
        self._tried = asyncio.Event()
        self._closed = False
        self.direct = False
        self.why = ""
        """Why letters are relayed."""

    @property
    def tried(self) -> bool:
        """Whether it is known yet which way letters go."""
        return self._tried.is_set()

    async def send(self, letter: Letter) -> None:
        """Put a letter on its way; waits until it is known which way, and while the peer is far behind."""
        await self._tried.wait()
        async with self._sending:
            if self._closed:
                return
            numbered = replace(letter, stream=self._stream, serial=self._serial + 1)
            if self._link is None or not await self._link.send(numbered):
                await self._relay_what_is_left()
                if self._closed:
                    return
                await self._relay.send(numbered)
            self._serial += 1

    async def settle(self) -> None:
        """Wait until nothing of what was sent directly can come after what is sent over the relay from now on."""
        while self._link is not None and not self._closed:
            link = self._link
            await link.emptied()
            if not link.closed:
                return
            async with self._sending:
                await self._relay_what_is_left()

    async def keep(self) -> None:
        """Hold a link while that is possible, relay while it is not, and try again, until cancelled."""
        retry_s = self._patience.retry_s
        while True:
            link = Link(self.peer, lambda _: 0)  # nothing but acknowledgements comes back
            link.silence_s = self._silence_s
            try:
                why, answered = await self._hold(link), self._link is link
            except _NotYet:
                why, answered = self.why or "what was relayed has not come yet", True
            finally:
                await link.close()
            if self._link is link:
                async with self._sending:
                    await self._relay_what_is_left()
            self._note(direct=False, why=why)
            if answered:
                retry_s = self._patience.retry_s
                await asyncio.sleep(_NOT_YET_S)
            else:
                await asyncio.sleep(retry_s * (0.5 + random.random()))
                retry_s = min(2 * retry_s, self._patience.longest_retry_s)
                self._addresses.rotate(-1)

    async def close(self) -> None:
        """The peer is not there any more in this life: what is under way to it is dropped."""
        self._closed = True
        self._tried.set()
        if self._link:
            await self._link.close()

    async def _hold(self, link: Link) -> str:
        """Dial and carry until the link cannot be had or is lost; why."""
        dialer = Dialer(
            link=link,
            addresses=tuple(self._addresses),
            open_channel=self._open_channel,
            patience_s=self._patience.fall_back_s,
            on_change=lambda _: None,
            greeting=wire.Hello(stream=self._stream),
            on_answer=lambda answer: self._begin(link, answer),
            answer_s=self._patience.answer_s,
        )
        dialling = asyncio.create_task(dialer.keep(), name=f"dialling {self.peer}")
        watching = asyncio.create_task(self._watch(link), name=f"watching the link to {self.peer}")
        try:
            await asyncio.wait({dialling, watching}, return_when=asyncio.FIRST_COMPLETED)
            return await _reason(dialling, watching)
        finally:
            for task in (dialling, watching):
                task.cancel()
            await asyncio.gather(dialling, watching, return_exceptions=True)

    async def _watch(self, link: Link) -> str:
        """Until nothing has carried the link for too long; why."""
        lost_s = time.monotonic()
        while time.monotonic() - lost_s <= self._patience.fall_back_s:
            if link.connected:
                lost_s = time.monotonic()
            await asyncio.sleep(_LOOK_S)
        return "the connection was lost" if self._link is link else f"no answer at {', '.join(self.place.addresses)}"

    def _begin(self, link: Link, answer: wire.Hello) -> None:
        """The peer answers: from now on letters go over this link, where nothing is under way over the relay.

        Raises:
            _NotYet: something is.
        """
        if self._link is link:
            return
        if self._sending.locked() or self._left or self._link or answer.delivered != self._serial:
            raise _NotYet
        self._link = link
        self._note(direct=True, why="")

    async def _relay_what_is_left(self) -> None:
        """Relay what the link that was given up has not brought to the peer, as far as is known here."""
        if self._link and self._link.closed:
            self._left.extend(self._link.unacknowledged)
            self._link = None
        while self._left and not self._closed:
            await self._relay.send(self._left[0])
            self._left.popleft()

    def _note(self, *, direct: bool, why: str) -> None:
        changed = (self.direct, self.why) != (direct, why) or not self._tried.is_set()
        self.direct, self.why = direct, why
        self._tried.set()
        if changed and not self._closed:
            self._on_change()


async def _reason(dialling: asyncio.Task[None], watching: asyncio.Task[str]) -> str:
    if not dialling.done():
        return watching.result()
    try:
        await dialling
    except ShieldwallError as error:
        return error.summary
    return "the link was closed"
