"""All checks, in their order: this machine, then the ticket, its addresses, the run, the line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from shieldwall.core.errors import IdentityError
from shieldwall.run.machines.doctor.clock import check_clock, check_skew
from shieldwall.run.machines.doctor.device import Multiply, check_devices, find_device, multiply
from shieldwall.run.machines.doctor.finding import Finding, good
from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.run.machines.doctor.line import LineWork, examine_line
from shieldwall.run.machines.doctor.packages import (
    LEAST,
    Installed,
    check_package,
    check_python,
    compare_versions,
    package_versions,
)
from shieldwall.run.machines.doctor.storage import check_disk, check_keys, check_memory, free_disk_bytes
from shieldwall.run.machines.doctor.terms import check_admission, check_ticket
from shieldwall.run.machines.doctor.visit import Visit, Visitor
from shieldwall.run.memory import available_bytes
from shieldwall.transport.identity.home import CHAIN, look_up_membership
from shieldwall.transport.identity.joining import Membership
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote.probe import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Senses:
    """Where the doctor's figures come from."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    free_memory_bytes: Callable[[torch.device], int] = available_bytes
    free_disk_bytes: Callable[[Path], int] = free_disk_bytes
    compute: Multiply = multiply
    installed: Installed = version


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Examines a machine.

    Args:
        home: the worker's folder; it is read only, and need not be there.
        device: what it is to compute on, or "auto".
        thorough: every device, every address, ten round trips and the bandwidth; else what `join` has time for.
        senses: where figures come from.
        limits: from where on something is wrong.
    """

    home: Path
    device: str = "auto"
    thorough: bool = True
    senses: Senses = field(default_factory=Senses)
    limits: Limits = field(default_factory=Limits)

    def examine(self, ticket: Ticket | None = None) -> list[Finding]:
        """Look at this machine, and at the way to a run if there is a ticket of it. Changes nothing, at either end.

        Must not be called where an event loop runs.
        """
        found = self._machine()
        if ticket is None:
            return [*found, check_memory(self._free_memory_bytes())]
        return [*found, *asyncio.run(self._run(ticket))]

    def _machine(self) -> list[Finding]:
        senses = self.senses
        return [
            check_python(),
            *(check_package(name, senses.installed) for name in LEAST),
            *check_devices(self.device, every=self.thorough, compute=senses.compute),
            check_disk(self.home, senses.free_disk_bytes(self.home)),
            *check_keys(self.home),
            check_clock(senses.clock()),
        ]

    async def _run(self, ticket: Ticket) -> list[Finding]:
        kept = self._membership(ticket)
        found = [check_ticket(ticket, kept, self.senses.clock())]
        shown = kept.credential if kept else ticket.guest
        visitor = Visitor(ticket=ticket, shown=shown, clock=self.senses.clock, limits=self.limits)
        visits = await self._visits(visitor)
        reached = next((visit for visit in visits if visit.told), None)
        found += [finding for visit in visits for finding in _of_visit(visit, reached)]
        if reached is None or reached.told is None or reached.here is None:
            memory = check_memory(self._free_memory_bytes())
            # a member keeps looking for its run: it may be about to go on
            return [*(replace(each, prevents=False) if kept else each for each in found), memory]
        found.append(_ways(reached.address))
        found += self._terms(ticket, reached.told, reached.here)
        return [*found, *await self._line(visitor, reached.address, reached.told)]

    def _membership(self, ticket: Ticket) -> Membership | None:
        """The home's place in the run while its certificate lasts; keys that cannot be used have their own line."""
        try:
            kept = look_up_membership(self.home, ticket)
        except IdentityError:
            return None
        return kept if kept and self.senses.clock() < kept.expires else None

    async def _visits(self, visitor: Visitor) -> list[Visit]:
        """All addresses at once, in their order; where one of the run's is enough, those that are done by then."""
        visiting = [asyncio.create_task(visitor.visit(address)) for address in visitor.ticket.addresses]
        try:
            for done in asyncio.as_completed(visiting):
                if (await done).told and not self.thorough:
                    break
            return [task.result() for task in visiting if task.done()]
        finally:
            for task in visiting:
                task.cancel()
            await asyncio.gather(*visiting, return_exceptions=True)

    def _terms(self, ticket: Ticket, told: Told, here: datetime) -> list[Finding]:
        """What the run asks for, against what there is."""
        was_there = (self.home / "runs" / ticket.fingerprint / CHAIN).exists()
        return [
            check_admission(told.standing, ticket, was_there),
            check_skew(told.time, here),
            *compare_versions(told.facts.versions, package_versions(self.senses.installed)),
            check_memory(self._free_memory_bytes(), told.facts.worker_bytes),
        ]

    async def _line(self, visitor: Visitor, address: str, told: Told) -> list[Finding]:
        work = LineWork(
            address=address,
            frame_bytes=told.facts.frame_bytes,
            round_trips=10 if self.thorough else 3,
            bandwidth=self.thorough,
        )
        async with visitor.open_channel(address) as channel:
            return await examine_line(channel, work, self.limits)

    def _free_memory_bytes(self) -> int:
        """On the device that would be taken; on the CPU where that one is not there, which has a line of its own."""
        return self.senses.free_memory_bytes(find_device(self.device) or torch.device("cpu"))


def _of_visit(visit: Visit, reached: Visit | None) -> Sequence[Finding]:
    """An address that leads nowhere is no fault where another one leads to the run: a machine has many."""
    if reached is None or visit.told:
        return visit.findings
    return [
        each if each.passed else good(each.check, f"{each.saw}; not needed, {reached.address} is the run", each.about)
        for each in visit.findings
    ]


def _ways(address: str) -> Finding:
    return good(
        "ways",
        f"this machine reaches the run at {address}; the run need not reach this machine, workers only dial out",
    )
