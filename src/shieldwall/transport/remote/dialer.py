"""The worker's end: dials the initiator, keeps the link connected, and is the endpoint that its host talks through."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from shieldwall.core.errors import EnrolmentError, TransportError
from shieldwall.core.ids import COORDINATOR, INITIATOR, SERVER
from shieldwall.core.messages import Message
from shieldwall.transport.codec import pack, unpack
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import carry
from shieldwall.transport.remote.lanes import DialledLane, greeting_in
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.refusals import link_lost
from shieldwall.transport.remote.tally import Tally

_GREETING_S = 10.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_SESSION_BYTES = 16
INITIATORS = frozenset({INITIATOR, COORDINATOR, SERVER})
_log = logging.getLogger(__name__)

OpenChannel = Callable[[str], grpc.aio.Channel]
"""A channel to an address, with the certificate that is valid now."""


class RemoteEndpoint:
    """A worker's end of its link to the initiator, over which it reaches everybody."""

    def __init__(self, name: str, link: Link) -> None:
        self._name = name
        self._link = link
        self._sender = ""
        self._arrived_s = 0.0
        self._dropped = Tally(_log.warning)

    @property
    def name(self) -> str:
        return self._name

    async def send(self, destination: str, message: Message) -> None:
        await self._link.send(Letter(self._name, destination, pack(message)))

    async def receive(self) -> Message:
        """The next message.

        What another worker sent and nobody can read is dropped: the initiator passes such letters on unread, and a
        worker does not end because its neighbour lies.

        Raises:
            TransportError: SW-T107, what the initiator sent cannot be read; SW-T112, the link is given up.
        """
        while True:
            letter = await self._link.receive()
            if letter is None:
                raise link_lost("the link was given up")
            self._sender, self._arrived_s = letter.source, time.perf_counter()
            try:
                return unpack(letter.packed.kind, letter.packed.body, letter.packed.tensors)
            except TransportError as error:
                if letter.source in INITIATORS:
                    raise
                self._dropped.count("dropped", letter.source, error)

    @property
    def sender(self) -> str:
        return self._sender

    @property
    def arrived_s(self) -> float:
        return self._arrived_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialer:
    """Keeps a link connected.

    Args:
        link: that is kept.
        addresses: HOST:PORT of the initiator, tried in turn.
        open_channel: opens a channel to one of them.
        lanes: connections side by side, for links that one cannot fill.
        patience_s: how long it goes on dialling in vain.
        on_change: told of each connection that is made or lost, in words.
        machine: what this one says of itself (`fit.describe_machine`).
        greeting: what is said of this end beside session and lane.
        on_answer: told of the answer to each greeting; what it raises ends the dialling.
        answer_s: how long an answer may take.
    """

    link: Link
    addresses: Sequence[str]
    open_channel: OpenChannel
    lanes: int = 1
    patience_s: float
    on_change: Callable[[str], None]
    machine: Mapping[str, str] = field(default_factory=dict)
    greeting: wire.Hello = field(default_factory=wire.Hello)
    on_answer: Callable[[wire.Hello], None] | None = None
    answer_s: float = _GREETING_S

    async def keep(self) -> None:
        """Dial, carry, and dial again when the connection is lost, until the link is closed.

        Raises:
            TransportError: SW-T109 or SW-T111, the other end will not have this one; SW-T112, patience is over; SW-T107
                or SW-T108, it sends what it should not.
            EnrolmentError: SW-T22... or SW-T23...; the other end will not have this one, and says why.
        """
        session, dialled, fresh = secrets.token_bytes(_SESSION_BYTES), 0, True
        pause_s, lost_s = _FIRST_PAUSE_S, time.monotonic()
        while not self.link.closed:
            for address in self.addresses:
                dialled += 1
                hello = wire.Hello(session=session, dialled=dialled, fresh=fresh, machine=self.machine)
                hello.MergeFrom(self.greeting)
                if await self._connect(address, hello):
                    fresh = False
                    pause_s, lost_s = _FIRST_PAUSE_S, time.monotonic()
                if self.link.closed:
                    return
            if time.monotonic() - lost_s > self.patience_s:
                raise link_lost(f"nobody answered for {self.patience_s:g} s", self.addresses)
            await asyncio.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _connect(self, address: str, hello: wire.Hello) -> bool:
        """Carry over one connection until it is lost; whether there was one."""
        channels = [self.open_channel(address) for _ in range(self.lanes)]
        try:
            first = await self._greet(channels[0], address, hello, 0)
            if first is None:
                return False
            carrying = [asyncio.create_task(self.link.carry(first))]  # the other end has begun to send on it
            hello.fresh = False
            try:
                for number, channel in enumerate(channels[1:], 1):
                    if lane := await self._greet_beside(channel, address, hello, number):
                        carrying.append(asyncio.create_task(self.link.carry(lane)))
                self.on_change(f"connected to {address}")
                done, _ = await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in carrying:
                    task.cancel()
                await asyncio.gather(*carrying, return_exceptions=True)
            for task in done:
                task.result()
            self.on_change(f"connection to {address} lost")
            return True
        finally:
            for channel in channels:
                await channel.close()

    async def _greet_beside(
        self, channel: grpc.aio.Channel, address: str, hello: wire.Hello, number: int
    ) -> DialledLane | None:
        """A lane beside the first one, which is told why where the other end will not have this one any more."""
        try:
            return await self._greet(channel, address, hello, number)
        except (EnrolmentError, TransportError):
            return None

    async def _greet(
        self, channel: grpc.aio.Channel, address: str, hello: wire.Hello, number: int
    ) -> DialledLane | None:
        lane = DialledLane(carry(channel), address)
        hello.lane, hello.received = number, self.link.received
        try:
            await asyncio.wait_for(lane.write([wire.Piece(hello=hello)]), self.answer_s)
            answer = greeting_in(await asyncio.wait_for(lane.read(), self.answer_s))
        except (TimeoutError, ConnectionError):
            return None
        if answer is None:
            return None
        if number == 0:
            if self.on_answer:
                self.on_answer(answer)
            await self.link.begin(answer.received)
        return lane
