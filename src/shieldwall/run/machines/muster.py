"""The initiator's side of a run over machines: listen, invite, wait until everybody is there, watch over them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from shieldwall.core.arithmetic import ArithmeticClass
from shieldwall.core.errors import Interrupted, ShieldwallError
from shieldwall.core.ids import MUSTER
from shieldwall.core.messages import Welcome
from shieldwall.dashboard.progress import ProgressView
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.run.folder import RunFolder
from shieldwall.run.losses import GONE_AS
from shieldwall.run.machines.allowance import Allowance
from shieldwall.run.machines.claims import Claims
from shieldwall.run.machines.directory import Directory, relayed_in_words
from shieldwall.run.machines.doctor.packages import package_versions
from shieldwall.run.machines.listen import Listen
from shieldwall.run.machines.register import Register
from shieldwall.run.machines.sentry import Sentry
from shieldwall.run.machines.status import STATUS_FILE
from shieldwall.run.machines.warden import Warden
from shieldwall.schedule import Topology
from shieldwall.transport.identity.book import Book
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.limits import allow_files
from shieldwall.transport.remote.probe import RunFacts
from shieldwall.transport.remote.server import WireServer
from shieldwall.transport.remote.tally import Tally
from shieldwall.transport.remote.witness import HubWitness
from shieldwall.transport.star import touches_centre

_TICKET_LASTS = timedelta(days=1)
_LOOK_S = 0.1
_FLUSH_S = 10.0
_CLAIM_S = 30.0
"""Who is there and has not said by then what it can do is sent off, and may dial anew."""
_WAYS_S = 4.0
"""For how long workers may look for ways to each other before the run begins."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Workers on other machines, ready to be given stages."""

    hub: Hub
    book: Book
    warden: Warden
    """Sends workers away."""
    wanted: tuple[str, ...]
    """Those whom the plan gives work, or has as spares."""
    there: frozenset[str]
    """Who is there at the beginning, be they wanted or not."""
    claims: Claims
    """What each says of its machine."""
    allowance: Allowance
    """How much a worker may send at once."""
    deadlines: Deadlines
    """Of their answers."""
    cut_off: Callable[[str], Awaitable[None]]
    """Ends the connections of one that has missed a deadline; what it sends from then on goes nowhere."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Those of the wanted who are not there."""
        return tuple(name for name in self.wanted if name not in self.there)

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Who is there besides: spares."""
        return tuple(sorted(self.there - {*self.wanted}))

    @property
    def keys(self) -> dict[str, bytes]:
        """Name to public signing key (32 bytes) of everybody who was ever enrolled."""
        return {member.name: member.signing_key for member in self.book.members()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Muster:
    """What gathering takes.

    Args:
        folder: of the run; keys and the book of members lie in its private part.
        run: the run's name.
        listen: where workers dial.
        topology: who may talk to whom.
        welcome: what each worker is told first.
        deadlines: of answers.
        arithmetic: the run's class, which every worker has to be of.
        worker_bytes: what a worker needs of memory to be of use.
        own_passes_per_s: of the probe on this machine.
        patience_s: for how long those are waited for who are not there; None: until they come or are banned.
        view: shows the ticket, and who is there.
        stop_wanted: whether a signal has come.
    """

    folder: RunFolder
    run: str
    listen: Listen
    topology: Topology
    welcome: Welcome
    deadlines: Deadlines
    arithmetic: ArithmeticClass
    worker_bytes: int
    own_passes_per_s: float
    patience_s: float | None
    view: ProgressView
    stop_wanted: Callable[[], bool]

    @asynccontextmanager
    async def gather(self, names: Sequence[str]) -> AsyncIterator[Machines]:
        """Everybody in `names`, once all of them are there who are not banned, or patience is over.

        They are watched over until the block ends.

        Raises:
            TransportError: SW-T110; the port cannot be opened.
            Interrupted: SW-I101; a signal came while waiting.
        """
        gate = self._open_gate()
        directory = Directory(self.welcome.silence_s, self.view.note) if self.topology == "chain" else None
        sentry = Sentry(self.welcome, self.deadlines, *([directory.admit] if directory else []))
        tally = Tally(self.view.note)
        claims = Claims(self.own_passes_per_s, self._lose(sentry))

        async def greet(name: str) -> None:
            claims.forget(name)
            await sentry.greet(name)

        hub = Hub(self._may_pass, partial(tally.count, "dropped"), greet, directory.forget if directory else None)
        allowance = Allowance(self.welcome.frame_bytes, self.welcome.state_bytes)
        facts = RunFacts(
            versions=package_versions(), worker_bytes=self.worker_bytes, frame_bytes=self.welcome.frame_bytes
        )
        allow_files()
        server = WireServer(
            hub,
            gate,
            allowance,
            partial(_count_refused, tally),
            facts,
            self.arithmetic,
            directory.introduce if directory else None,
        )
        if directory:
            directory.open(hub)
        port = await server.listen(str(self._where(gate)))
        sentry.stand(hub, server)
        self.deadlines.witness = HubWitness(hub, directory.goes_directly) if directory else HubWitness(hub)
        register = Register(self.folder.path / STATUS_FILE, self.welcome.silence_s, self.deadlines.answer_s)
        register.see_claims(claims)
        warden = Warden(
            book=gate.book,
            server=server,
            hub=hub,
            sentry=sentry,
            register=register,
            directory=directory,
            tell=self.view.note,
        )
        try:
            async with (
                _meanwhile(warden.watch()),
                _meanwhile(claims.listen(hub.join(MUSTER))),
                _meanwhile(_hear(directory)),
            ):
                await warden.look()
                self._invite(gate, port, len(set(names) - warden.banned))
                await self._wait(hub, server, names, warden, claims)
                if directory:
                    await directory.settle(_WAYS_S)
                machines = Machines(
                    hub=hub,
                    book=gate.book,
                    warden=warden,
                    wanted=tuple(names),
                    there=frozenset(hub.links),
                    claims=claims,
                    allowance=allowance,
                    deadlines=self.deadlines,
                    cut_off=sentry.cut_off,
                )
                hub.miss(machines.absent)
                async with _meanwhile(sentry.watch()):
                    yield machines
            await _flush(hub)
            if directory:
                self.view.note(f"relayed between workers: {relayed_in_words(hub.relayed_bytes)}")
        finally:
            warden.close()
            await server.stop()
            tally.close()

    def _open_gate(self) -> Gate:
        private = self.folder.private
        private.mkdir(mode=0o700, exist_ok=True)
        return Gate.load(private) if Gate.exists(private) else Gate.create(private, self.run)

    def _invite(self, gate: Gate, port: int, uses: int) -> None:
        gate.book.set_addresses([f"{host}:{port}" for host in self.listen.reached_at()])
        ticket = gate.invite(uses=uses, lasts=_TICKET_LASTS, now=utc_now())
        self.view.note(
            f"a worker that is silent for {self.welcome.silence_s:.1f} s is gone: three slots of the plan, or 1.8 s"
        )
        self.view.note(self.deadlines.sentence())
        self.view.note(f"listening on port {port}; on each of {uses} machines:\nshieldwall join {ticket.text()}")

    def _where(self, gate: Gate) -> Listen:
        """Where to listen: with port 0, at the one of before, if there was one, since that is where workers dial."""
        before = [address.rpartition(":")[2] for address in gate.book.addresses]
        return Listen(self.listen.host, int(before[0])) if before and not self.listen.port else self.listen

    async def _wait(self, hub: Hub, server: WireServer, names: Sequence[str], warden: Warden, claims: Claims) -> None:
        there: dict[str, float] = {}
        told: set[str] = set()
        since_s = time.monotonic()
        while missing := self._missing(hub, names, warden, claims):
            now_s = time.monotonic()
            if self.patience_s is not None and now_s - since_s > self.patience_s:
                self.view.note(f"going on without {', '.join(missing)}")
                return
            for name in sorted(set(hub.links) - told):
                self.view.note(f"{name} is there")
            told.update(hub.links)  # who comes and goes is told of once
            there = {name: there.get(name, now_s) for name in hub.links}
            for name in claims.lacking(there):
                if now_s - there[name] > _CLAIM_S:
                    self.view.note(f"{name} has not said what it can do; it may come again")
                    await server.drop(name)
            if self.stop_wanted():
                raise Interrupted(
                    "SW-I101",
                    "the run was stopped by a signal",
                    where=str(self.folder.path),
                    state=f"nothing was begun; {', '.join(missing)} had not come",
                    remedy=f"shieldwall train --run {self.folder.path} --resume --listen {self.listen}",
                )
            await asyncio.sleep(_LOOK_S)

    def _missing(self, hub: Hub, names: Sequence[str], warden: Warden, claims: Claims) -> list[str]:
        """Who is waited for: who is not there, or has not said what it can do."""
        told = claims.made
        return [name for name in names if not (name in hub.links and name in told) and name not in warden.banned]

    def _lose(self, sentry: Sentry) -> Callable[[str, str], Coroutine[Any, Any, None]]:
        async def lose(name: str, kind: str) -> None:
            if await sentry.lose(name, kind):
                self.view.note(f"{name} {GONE_AS[kind]} and ends")

        return lose

    def _may_pass(self, source: str, destination: str) -> bool:
        return self.topology == "chain" or touches_centre(source, destination)


def _count_refused(tally: Tally, peer: str, error: ShieldwallError) -> None:
    if error.code != "SW-T111":  # who comes back is told to begin anew, which is nobody's fault
        tally.refused(peer, error)


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have `work` done beside the block, and cancelled when that ends."""
    working = asyncio.create_task(work)
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _hear(directory: Directory | None) -> None:
    if directory:
        await directory.watch()


async def _flush(hub: Hub) -> None:
    """Give everybody the time to take what was sent last."""
    waiting = [asyncio.create_task(link.flushed()) for link in hub.links.values()]
    if waiting:
        await asyncio.wait(waiting, timeout=_FLUSH_S)
    for each in waiting:
        each.cancel()
