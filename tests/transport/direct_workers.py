"""Workers of one run that listen for each other on loopback, and the initiator that tells them where."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from wired import ROOMY_BYTES

from shieldwall.core.errors import ShieldwallError
from shieldwall.run.machines.directory import Directory
from shieldwall.transport.faulty import FaultyProxy
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.dialer import Dialer
from shieldwall.transport.remote.direct import DirectEndpoint
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import Passport, enter
from shieldwall.transport.remote.peer_port import PeerPort
from shieldwall.transport.remote.server import WireServer
from shieldwall.transport.remote.way import Patience

SILENCE_S = 1.5
QUICK = Patience(fall_back_s=2.5, answer_s=2.0, retry_s=0.1, longest_retry_s=0.2)


@dataclass
class Worker:
    """One that is there."""

    passport: Passport
    ticket: Ticket
    endpoint: DirectEndpoint
    port: int
    said: list[str]
    proxy: FaultyProxy
    """Between its port and those who dial it, where it is behind one."""

    def goes(self, name: str, how: str) -> bool:
        """Whether its letters to another go so."""
        return self.endpoint.ways.get(name, "").startswith(how)


@dataclass
class Chain:
    """A run over machines, as far as its transport goes."""

    folder: Path
    hub: Hub
    server: WireServer
    gate: Gate
    directory: Directory
    notes: list[str]
    lives: dict[str, int]
    """Of those who are there, as the directory counts them."""
    port: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)

    def ticket(self) -> Ticket:
        return self.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[f"127.0.0.1:{self.port}"])

    def stream(self, one: str, other: str) -> int:
        """The number of the stream between two who are there."""
        return max(self.lives[one], self.lives[other])

    @contextlib.asynccontextmanager
    async def worker(
        self, name: str, *, listen: bool = True, told: str = "", proxied: bool = False
    ) -> AsyncIterator[Worker]:
        """One that has joined; the run may be `told` another address of it than where it listens, or its proxy's."""
        ticket, said = self.ticket(), list[str]()
        async with contextlib.AsyncExitStack() as stack:
            home = stack.enter_context(open_home(self.folder / name))
            passport = await enter(home, ticket, wish=name)
            link = Link("initiator", lambda _: ROOMY_BYTES)
            endpoint = DirectEndpoint(name, link, passport.open_channel_to, said.append, QUICK)
            port = PeerPort(
                endpoint,
                lambda: passport.membership.credential,
                ticket.authority,
                lambda _: ROOMY_BYTES,
                said.append,
            )
            number = await port.listen("127.0.0.1:0")
            proxy = FaultyProxy(("127.0.0.1", number))
            reached = await stack.enter_async_context(proxy.listening()) if proxied else number
            dialer = Dialer(
                link=link,
                addresses=ticket.addresses,
                open_channel=passport.open_channel,
                patience_s=20,
                on_change=lambda _: None,
                greeting=wire.Hello(listens=[told or f"127.0.0.1:{reached}"] if listen else []),
            )
            tasks = [asyncio.create_task(dialer.keep()), asyncio.create_task(endpoint.keep())]
            try:
                await until(lambda: name in self.hub.links)
                yield Worker(passport, ticket, endpoint, number, said, proxy)
            finally:
                await endpoint.close()
                await port.stop()
                await link.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def chain() -> AsyncIterator[Chain]:
    """The initiator's side, which listens on a port of its own."""
    faults: list[tuple[str, str]] = []
    notes: list[str] = []
    directory = Directory(SILENCE_S, notes.append)

    lives: dict[str, int] = {}

    async def attached(name: str) -> None:
        directory.admit(name)
        lives[name] = max(lives.values(), default=0) + 1

    with tempfile.TemporaryDirectory() as folder:
        private = Path(folder) / "private"
        private.mkdir(mode=0o700)
        gate = Gate.create(private, "test")

        def fault(peer: str, error: ShieldwallError) -> None:
            faults.append((peer, error.code))

        hub = Hub(lambda *_: True, fault, attached, directory.forget)
        server = WireServer(hub, gate, lambda _: ROOMY_BYTES, fault, introduce=directory.introduce)
        directory.open(hub)
        port = await server.listen("127.0.0.1:0")
        hearing = asyncio.create_task(directory.watch())
        try:
            yield Chain(Path(folder), hub, server, gate, directory, notes, lives, port, faults)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Look until it holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)
