"""A run's port on loopback, as machines that look at it see it; it answers from a thread and a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shieldwall.run.machines.doctor.examine import Doctor, Senses
from shieldwall.run.machines.doctor.finding import Finding
from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.run.machines.doctor.packages import package_versions
from shieldwall.transport.faulty import FaultyProxy, Line
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.passport import enter
from shieldwall.transport.remote.probe import RunFacts
from shieldwall.transport.remote.server import WireServer

PATIENT = Limits(connect_s=20, answer_s=20, round_trip_s=20, bandwidth_bytes_s=1)
"""A machine that others share may be slow, and that is no fault here."""
NEED = RunFacts(versions=package_versions(), worker_bytes=5 << 20, frame_bytes=1 << 20)


@dataclass
class ListeningRun:
    """What there is of it."""

    gate: Gate
    port: int
    loop: asyncio.AbstractEventLoop
    refusals: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ticket(
        self, *addresses: str, uses: int = 1, lasts: timedelta = timedelta(hours=1), now: datetime | None = None
    ) -> Ticket:
        """To the run's own address if none are given."""
        return self.gate.invite(uses=uses, lasts=lasts, now=now or utc_now(), addresses=addresses or [self.address])

    def book(self) -> tuple[Any, ...]:
        """All that joining would change."""
        return self.gate.book.invitations(datetime(1970, 1, 3, tzinfo=UTC)), self.gate.book.members()

    def joined(self, home: Path, ticket: Ticket) -> None:
        """Somebody from that home becomes a member."""

        async def play() -> None:
            with open_home(home) as opened:
                await enter(opened, ticket)

        asyncio.run(play())

    @contextmanager
    def behind(self, there: Line, back: Line) -> Iterator[str]:
        """An address from which a bad line leads here."""
        proxy = FaultyProxy(("127.0.0.1", self.port), there, back)
        listening = proxy.listening()
        port = self._do(listening.__aenter__())
        yield f"127.0.0.1:{port}"
        self._do(listening.__aexit__(None, None, None))

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()


@contextmanager
def listening_run(folder: Path, facts: RunFacts = NEED) -> Iterator[ListeningRun]:
    """A run that listens while the block runs; its private part is in `folder`."""
    private = folder / "private"
    private.mkdir(mode=0o700, parents=True)
    gate = Gate.create(private, "test")
    refusals: list[str] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> tuple[WireServer, int]:
        hub = Hub(lambda *_: True, lambda *_: None)
        server = WireServer(hub, gate, lambda _: 0, lambda _, error: refusals.append(error.code), facts)
        return server, await server.listen("127.0.0.1:0")

    def do(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    server, port = do(begin())
    try:
        yield ListeningRun(gate, port, loop, refusals)
    finally:
        do(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def senses(**changed: Any) -> Senses:
    """A machine with enough of everything, but for what is said."""
    enough: dict[str, Callable[..., int]] = {
        "free_memory_bytes": lambda _: 8 << 30,
        "free_disk_bytes": lambda _: 8 << 30,
    }
    return Senses(**{**enough, **changed})


def examine(
    home: Path, ticket: Ticket | None = None, *, limits: Limits = PATIENT, thorough: bool = False, **changed: Any
) -> list[Finding]:
    """What the doctor finds of a machine whose senses are `changed`."""
    doctor = Doctor(home=home, device="cpu", thorough=thorough, senses=senses(**changed), limits=limits)
    return doctor.examine(ticket)


def failed(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.passed]


def only_failure(findings: Sequence[Finding]) -> Finding:
    [found] = failed(findings)
    assert found.remedy
    assert str(found).startswith("FAIL  ")
    assert "; do: " in str(found)
    return found
