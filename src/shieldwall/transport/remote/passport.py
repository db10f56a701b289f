"""A worker's membership in one run: got with a ticket, kept in its home, renewed by itself before it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import grpc

from shieldwall.core.errors import ShieldwallError
from shieldwall.core.version import VERSION
from shieldwall.transport.identity.authority import worker_host
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, Purpose
from shieldwall.transport.identity.home import Home
from shieldwall.transport.identity.joining import Membership
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote.channel import ask, open_channel
from shieldwall.transport.remote.refusals import link_lost, read_answer

_ANSWER_S = 20.0
_RENEWED_AT = 0.5
"""Share of what is left of a certificate after which the next one is asked for."""
_LEAST_PAUSE = timedelta(seconds=5)


class Passport:
    """What a worker shows from now on. Made by `enter`.

    Args:
        home: keys and certificate lie there.
        ticket: of the run.
        membership: that it has.
    """

    def __init__(self, home: Home, ticket: Ticket, membership: Membership) -> None:
        self._home = home
        self._ticket = ticket
        self.membership = membership

    @property
    def name(self) -> str:
        """What the run calls this worker."""
        return self.membership.name

    @property
    def run(self) -> str:
        """The run's name, by its ticket."""
        return self._ticket.run

    def open_channel(self, address: str) -> grpc.aio.Channel:
        """A channel to an address of the run, with the certificate that is valid now."""
        return open_channel(address, self._ticket.authority_pem, self.membership.credential)

    def open_channel_to(self, worker: str, address: str) -> grpc.aio.Channel:
        """A channel to an address where that worker of the run listens, and no other member is let through."""
        return open_channel(address, self._ticket.authority_pem, self.membership.credential, worker_host(worker))

    async def keep(self, tell: Callable[[str], None]) -> None:
        """Renew the certificate whenever half of it is over, until cancelled; tries again where nobody answers."""
        while True:
            left = self.membership.expires - utc_now()
            await asyncio.sleep(max(left * _RENEWED_AT, _LEAST_PAUSE).total_seconds())
            try:
                await self.renew()
            except ShieldwallError as error:
                tell(f"the certificate was not renewed: {error.summary}")

    async def renew(self) -> None:
        """Get the next certificate.

        Raises:
            EnrolmentError: SW-T22...; the run refuses.
            TransportError: SW-T112; nobody answers.
        """
        request = self._home.request(self._ticket, Purpose.RENEWAL, wish="", version=VERSION, facts={}, now=utc_now())
        answer = await _first_answer(self._ticket, self.open_channel, "Renew", request.to_bytes())
        self.membership = self._home.keep(self._ticket, answer)


async def enter(home: Home, ticket: Ticket, *, wish: str = "", facts: Mapping[str, Any] | None = None) -> Passport:
    """Become a member of the ticket's run, or go on being one.

    A certificate that was kept and is still good is used as it is, and takes no use of the ticket.

    Args:
        home: of the worker.
        ticket: of the run.
        wish: the name that it would like; "" for any.
        facts: of its machine.

    Raises:
        TicketError: SW-T20...; the ticket is expired or used up.
        EnrolmentError: SW-T22...; the run refuses, and says why.
        TransportError: SW-T112; nobody answers.
    """
    kept = home.membership(ticket)
    if kept and kept.expires - utc_now() > _LEAST_PAUSE:
        return Passport(home, ticket, kept)
    ticket.check_time(utc_now())
    request = home.request(ticket, Purpose.ENROLMENT, wish=wish, version=VERSION, facts=facts or {}, now=utc_now())
    answer = await _first_answer(
        ticket, lambda address: open_channel(address, ticket.authority_pem, ticket.guest), "Enrol", request.to_bytes()
    )
    return Passport(home, ticket, home.keep(ticket, answer))


async def _first_answer(
    ticket: Ticket, opener: Callable[[str], grpc.aio.Channel], method: str, request: bytes
) -> EnrolmentAnswer:
    """The answer of the first address that gives one."""
    tried = []
    for address in ticket.addresses:
        async with opener(address) as channel:
            try:
                return EnrolmentAnswer.from_bytes(await ask(channel, method, request, _ANSWER_S))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                    raise read_answer(address, str(error.details())) from error
                tried.append(f"{address}: {error.details()}")
    raise link_lost("; ".join(tried)[:400], ticket.addresses)
