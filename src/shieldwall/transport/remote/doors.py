"""What a port needs of the one whose it is: who may come in, and what becomes of their links."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from shieldwall.transport.identity.certificates import Credential
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest
from shieldwall.transport.identity.members import Invitation, Member
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.link import Link

Introduce = Callable[[str, wire.Hello, str], Awaitable[int]]
"""Hears the greeting of a member and from where it comes, HOST:PORT; gives what the answer says of `delivered`."""


class Doorkeeper(Protocol):
    """Who may come in: `identity.gate.Gate` at the initiator."""

    @property
    def server(self) -> Credential:
        """What this end shows."""

    def roots(self, now: datetime) -> bytes:
        """Whose certificates are let through the handshake, as text (PEM)."""

    def peer(self, certificate_pem: bytes, now: datetime) -> Invitation | Member:
        """Who has shown this certificate (PEM).

        Raises:
            EnrolmentError: nobody who may come in.
        """

    def admit(self, request: EnrolmentRequest, peer: Invitation | Member, now: datetime) -> EnrolmentAnswer:
        """Make a guest a member."""

    def renew(self, request: EnrolmentRequest, peer: Invitation | Member, now: datetime) -> EnrolmentAnswer:
        """Give a member its next certificate."""


class Switchboard(Protocol):
    """What becomes of links: `hub.Hub` at the initiator."""

    async def attach(self, link: Link) -> None:
        """A member has come, or come anew."""

    async def detach(self, name: str) -> None:
        """A member is gone."""

    async def close(self) -> None:
        """All of them are let go."""
