"""A hub that listens on loopback over mutual TLS, and members that dial it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from shieldwall.core.arithmetic import ArithmeticClass
from shieldwall.core.errors import ShieldwallError
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.remote.dialer import Dialer, RemoteEndpoint
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import enter
from shieldwall.transport.remote.server import WireServer

ROOMY_BYTES = 1 << 30


@dataclass
class Wired:
    """A hub with its server, and what went wrong."""

    folder: Path
    hub: Hub
    server: WireServer
    gate: Gate
    port: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def dialled(
        self,
        name: str,
        *,
        lanes: int = 1,
        address: str = "",
        allowed_bytes: int = ROOMY_BYTES,
        says_no_room: bool = False,
    ) -> AsyncIterator[RemoteEndpoint]:
        """The endpoint of a member that has enrolled and dialled; its link is closed at the end."""
        ticket = self.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[self.address])
        with open_home(self.folder / name) as home:
            passport = await enter(home, ticket, wish=name)
            link = Link("initiator", lambda _: allowed_bytes, says_no_room=says_no_room)
            dialer = Dialer(
                link=link,
                addresses=[address or self.address],
                open_channel=passport.open_channel,
                lanes=lanes,
                patience_s=20,
                on_change=self.said.append,
            )
            keeping = asyncio.create_task(dialer.keep())
            try:
                yield RemoteEndpoint(passport.name, link)
            finally:
                await link.close()
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)


@contextlib.asynccontextmanager
async def wired(
    *,
    may_pass: Callable[[str, str], bool] = lambda *_: True,
    allowed_bytes: int = ROOMY_BYTES,
    arithmetic: ArithmeticClass | None = None,
) -> AsyncIterator[Wired]:
    """A hub that listens on a port of its own."""
    faults: list[tuple[str, str]] = []
    refusals: list[str] = []

    def refuse(_: str, error: ShieldwallError) -> None:
        refusals.append(error.code)

    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(may_pass, lambda peer, error: faults.append((peer, error.code)))
        private = Path(folder) / "private"
        private.mkdir(mode=0o700)
        gate = Gate.create(private, "test")
        server = WireServer(hub, gate, lambda _: allowed_bytes, refuse, arithmetic=arithmetic)
        port = await server.listen("127.0.0.1:0")
        try:
            yield Wired(Path(folder), hub, server, gate, port, faults, refusals)
        finally:
            await server.stop()
