"""A worker on its own machine: enters the run, holds what it is given, and works until the run ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.arithmetic import choose_device, pinned_arithmetic
from shieldwall.core.errors import StorageError, TransportError
from shieldwall.core.ids import MUSTER
from shieldwall.core.messages import Able, Message, Stop, Welcome
from shieldwall.core.signing import Identity
from shieldwall.models.settings import ModelSettings
from shieldwall.pipeline.compute import ThreadCompute
from shieldwall.pipeline.host import StageHost
from shieldwall.pipeline.transfer.kept import Kept
from shieldwall.run.machines.allowance import Allowance
from shieldwall.run.machines.attacker import Attacker, AttackOrder, read_order
from shieldwall.run.machines.doctor.examine import Doctor
from shieldwall.run.machines.doctor.fitness import check_fitness
from shieldwall.run.machines.inability import inability_of, no_memory, take_leave
from shieldwall.run.machines.leave import Leave
from shieldwall.run.machines.listen import Listen
from shieldwall.run.machines.overheard import Overheard
from shieldwall.run.machines.speed import Probe
from shieldwall.run.machines.welcome import settings_of
from shieldwall.run.memory import available_bytes
from shieldwall.transport.identity.fit import describe_machine
from shieldwall.transport.identity.home import Home, open_home
from shieldwall.transport.identity.ticket import Ticket, read_ticket
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.dialer import Dialer
from shieldwall.transport.remote.direct import DirectEndpoint
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import Passport, enter
from shieldwall.transport.remote.peer_port import PeerPort
from shieldwall.transport.remote.streams import MOST_ADDRESSES
from shieldwall.verify.duplicate import DuplicateGuard

ATTACK_LOG = "attacks.jsonl"
SPARE = "spare"
"""What a worker would like to be called that is one more: not like those whom the plan names and the run waits for."""
_FAREWELL_S = 5.0
PATIENCE_S = 600.0
"""How long a worker looks for its run in vain before it gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """How a worker takes part.

    Args:
        home: folder with its keys; made where there is none.
        device: that it computes on.
        patience_s: how long it looks for the run in vain.
        tell: told what happens, in words.
        attack: file with `[[attack]]` tables by which this worker cheats; None for an honest one.
        attack_log: file that gets a line for each thing that it falsifies; `attacks.jsonl` in its home if not given.
        on_message: sees every message before the worker does.
        listen: where other workers can dial this one; None where they cannot.
        spare: be one more than those whom the run waits for.
    """

    home: Path
    device: str = "auto"
    patience_s: float = PATIENCE_S
    tell: Callable[[str], None] = print
    attack: Path | None = None
    attack_log: Path | None = None
    on_message: Callable[[Message], None] | None = None
    listen: Listen | None = None
    spare: bool = False


def join(ticket: str, joining: Joining) -> None:
    """Take part in the ticket's run until it ends; look first whether this machine can.

    Raises:
        ConfigError: SW-A101 to SW-A109, SW-C101 to SW-C105; the file with attacks cannot be used, or not in this run.
        TicketError: SW-T20...; the ticket cannot be used.
        IdentityError: SW-T21...; the home cannot be used.
        EnrolmentError: SW-T22...; the run refuses.
        TransportError: SW-T120, this machine cannot take part as it is; SW-T1..., the run cannot be reached, or sends
            what makes no sense.
        NoMemoryError: SW-S201; memory ran out. The run was told and goes on without this worker.
        StorageError: SW-S101; the disk refused. Likewise.
    """
    order = read_order(joining.attack, joining.attack_log or joining.home / ATTACK_LOG) if joining.attack else None
    read = read_ticket(ticket)
    check_fitness(Doctor(home=joining.home, device=joining.device, thorough=False), read, joining.tell)
    device = choose_device(joining.device)
    with open_home(joining.home) as home:

        async def play() -> None:
            leave = Leave(joining.tell)
            with leave.on_signals():
                facts = describe_machine(device)
                passport = await enter(home, read, wish=SPARE if joining.spare else "", facts=facts)
                joining.tell(f"{passport.name} in the run {read.run}")
                if joining.spare and not passport.name.startswith(SPARE):
                    joining.tell(f"--spare changes nothing: in this run this home is {passport.name} already")
                work = _Work(home, passport, read, device, joining, order, leave, Kept())
                while await work.is_forgotten():
                    joining.tell("the run does not know this session any more; beginning anew")

        asyncio.run(play())


@dataclass(slots=True)
class _Work:
    home: Home
    passport: Passport
    ticket: Ticket
    device: torch.device
    joining: Joining
    order: AttackOrder | None
    leave: Leave
    kept: Kept
    """Stages that were held when the run forgot this worker, and what has come of others: for the next session."""
    port: int = 0
    """That was opened last."""

    async def is_forgotten(self) -> bool:
        """Work until the run ends; whether it has forgotten this worker instead, which is then as new to it."""
        try:
            await self._play()
        except TransportError as error:
            if error.code != "SW-T111":
                raise
            return True
        return False

    async def _play(self) -> None:
        """Keep the link and the certificate while the host works."""
        allowance = Allowance()
        link = Link("the initiator", allowance, says_no_room=True)
        tell = self.joining.tell
        endpoint = DirectEndpoint(self.passport.name, link, self.passport.open_channel_to, tell)
        async with self._listening(endpoint, allowance) as listens:
            dialer = Dialer(
                link=link,
                addresses=self.ticket.addresses,
                open_channel=self.passport.open_channel,
                patience_s=self.joining.patience_s,
                on_change=tell,
                machine=describe_machine(self.device),
                greeting=wire.Hello(listens=listens),
            )
            try:
                await self._work(endpoint, link, dialer, allowance)
            finally:
                await endpoint.close()

    @contextlib.asynccontextmanager
    async def _listening(self, endpoint: DirectEndpoint, allowance: Allowance) -> AsyncIterator[list[str]]:
        """Where other workers can dial this one while the block runs; nowhere where it is not to listen.

        Raises:
            TransportError: SW-T110; the port cannot be opened.
        """
        listen, passport = self.joining.listen, self.passport
        if listen is None:
            yield []
            return
        port = PeerPort(
            endpoint, lambda: passport.membership.credential, self.ticket.authority, allowance, self.joining.tell
        )
        try:
            before, self.port = self.port, await port.listen(str(Listen(listen.host, listen.port or self.port)))
            if self.port != before:
                self.joining.tell(f"listening for other workers on port {self.port}")
            yield [f"{host}:{self.port}" for host in listen.reached_at()][:MOST_ADDRESSES]
        finally:
            await port.stop()

    async def _work(self, endpoint: DirectEndpoint, link: Link, dialer: Dialer, allowance: Allowance) -> None:
        helpers: list[asyncio.Task[Any]] = [
            asyncio.create_task(dialer.keep()),
            asyncio.create_task(endpoint.keep()),
            asyncio.create_task(self.passport.keep(self.joining.tell)),
        ]
        working = asyncio.create_task(self._serve(endpoint, link, allowance))
        try:
            done, _ = await asyncio.wait({working, *helpers}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.flushed(), _FAREWELL_S)
        except (MemoryError, RuntimeError, OSError, StorageError) as error:
            if not inability_of(error):
                raise
            await take_leave(error, endpoint, link, helpers[0], _FAREWELL_S)
            if isinstance(error, StorageError):
                raise
            raise no_memory(error, self.passport.name, self.passport.run) from error
        finally:
            await link.close()
            for task in (working, *helpers):
                task.cancel()
            await asyncio.gather(working, *helpers, return_exceptions=True)

    async def _serve(self, endpoint: DirectEndpoint, link: Link, allowance: Allowance) -> None:
        welcome = await endpoint.receive()
        if isinstance(welcome, Stop):
            return
        if not isinstance(welcome, Welcome):
            raise TransportError(
                "SW-T105",
                f"{self.passport.name} was told to work before it was told on what",
                expected="Welcome",
                got=type(welcome).__name__,
            )
        link.silence_s = welcome.silence_s
        if self.joining.listen and welcome.topology == "star":
            self.joining.tell("--listen changes nothing: in a star everything passes the initiator")
        allowance.frame_bytes, allowance.state_bytes = welcome.frame_bytes, welcome.state_bytes
        self.kept.limit_bytes = welcome.state_bytes
        settings = settings_of(welcome, self.device)
        name, tell = self.passport.name, self.joining.tell
        identity = Identity(name, self.home.signing_key)
        attacker = Attacker(name, self.order, welcome, tell, settings.compression) if self.order else None
        hooks = (attacker.hook,) if attacker else ()
        hears = [hear for hear in (self.joining.on_message, attacker and attacker.hear) if hear]
        guard = DuplicateGuard(identity, hooks, settings.compression) if welcome.checked else None
        host = StageHost(
            Overheard(endpoint, hears),
            settings,
            hooks=hooks,
            compute=ThreadCompute(),
            guard=guard,
            topology="star" if welcome.topology == "star" else "chain",
            kept=self.kept,
        )
        self.leave.works_through(endpoint)
        try:
            with pinned_arithmetic(self.device, welcome.threads):
                await endpoint.send(MUSTER, await self._ability(settings.model, welcome.rows))
                await host.serve()
        finally:
            host.put_away()
        self.joining.tell("left the run" if self.leave.asked else "the run is over")

    async def _ability(self, model: ModelSettings, rows: int) -> Able:
        """What this machine can do, measured now."""
        with ThreadPoolExecutor(max_workers=1) as beside:  # not asyncio's own, which needs another thread to end
            probing = asyncio.get_running_loop().run_in_executor(
                beside, Probe.of(model, rows).passes_per_s, self.device
            )
            passes_per_s = await probing
        return Able(host=self.passport.name, passes_per_s=passes_per_s, memory_bytes=available_bytes(self.device))
