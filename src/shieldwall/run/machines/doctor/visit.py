"""One address of a ticket, visited: name, port, certificate, and what the run says to whoever shows this ticket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import grpc

from shieldwall.core.errors import TransportError
from shieldwall.run.machines.doctor.certificate import check_certificate
from shieldwall.run.machines.doctor.finding import Finding, bad, good
from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.run.machines.doctor.reach import check_name, check_port, split_address
from shieldwall.transport.identity.certificates import Credential
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote.channel import open_channel
from shieldwall.transport.remote.probe import Prober, Told
from shieldwall.transport.remote.refusals import read_answer

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What came of it."""

    address: str
    findings: tuple[Finding, ...]
    told: Told | None = None
    """What the run said; None where nobody of the run answered."""
    here: datetime | None = None
    """This machine's clock half-way between question and answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who goes there.

    Args:
        ticket: that is shown, unless there is more.
        shown: a guest's or a member's certificate, with its key.
        clock: this machine's.
        limits: for how long each answer is waited for.
    """

    ticket: Ticket
    shown: Credential
    clock: Clock
    limits: Limits

    def open_channel(self, address: str) -> grpc.aio.Channel:
        """A channel as a worker of the run would open it."""
        return open_channel(address, self.ticket.authority_pem, self.shown)

    async def visit(self, address: str) -> Visit:
        """Look at one address, until something is wrong."""
        name = await check_name(split_address(address)[0], self.limits.connect_s)
        if name and not name.passed:
            return Visit(address=address, findings=(replace(name, about=address),))
        port = await check_port(address, self.limits.connect_s)
        before = (name, port) if name else (port,)
        if not port.passed:
            return Visit(address=address, findings=before)
        asked = await self._ask(address)
        return replace(asked, findings=(*before, *asked.findings))

    async def _ask(self, address: str) -> Visit:
        own = f"of the run's own authority {self.ticket.fingerprint[:16]}"
        async with self.open_channel(address) as channel:
            sent = self.clock()
            try:
                told = await Prober(channel, self.limits.answer_s).ask()
            except grpc.aio.AioRpcError as error:
                return Visit(address=address, findings=await self._why(address, error))
            except TransportError as error:
                return Visit(address=address, findings=(_other_version(address, error.got),))
            here = sent + (self.clock() - sent) / 2
        return Visit(address=address, findings=(good("certificate", own, address),), told=told, here=here)

    async def _why(self, address: str, error: grpc.aio.AioRpcError) -> tuple[Finding, ...]:
        """Why there was no answer."""
        code, details = error.code(), str(error.details())
        if code is grpc.StatusCode.PERMISSION_DENIED:
            refusal = read_answer(address, details)
            saw = f"{refusal.summary}: {refusal.got} ({refusal.code})" if refusal.got else refusal.summary
            return (bad("admission", saw, refusal.remedy, address),)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return (_other_version(address, "it knows no such question"),)
        certificate = await check_certificate(address, self.ticket, self.limits.connect_s)
        if not certificate.passed:
            return (certificate,)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            saw = f"the run does not answer within {self.limits.answer_s:g} s"
            remedy = "see whether its process stands still or the line loses what is sent"
            return certificate, bad("admission", saw, remedy, address)
        saw = f"the run ends the connection: {' '.join(details.split())[:160]}"
        remedy = "ask for a new ticket (shieldwall invite RUN): it does not know this one, or not any more"
        return certificate, bad("admission", saw, remedy, address)


def _other_version(address: str, why: str) -> Finding:
    remedy = "install the version of shieldwall that the run has, at both ends the same"
    return bad("same version", f"the run cannot be understood: {why}", remedy, f"at {address}")
