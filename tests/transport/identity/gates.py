"""A run's gate and machines that come to it, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldwall.transport.identity.certificates import key_id, new_key
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, Purpose
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.home import Home, open_home
from shieldwall.transport.identity.joining import Membership, accept, make_request
from shieldwall.transport.identity.members import Invitation, Newcomer
from shieldwall.transport.identity.ticket import Ticket

NOW = datetime(2026, 3, 1, 14, 22, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADDRESS = "127.0.0.1:4433"


def make_gate(folder: Path, run: str = "run-7") -> Gate:
    folder.mkdir(mode=0o700, parents=True)
    return Gate.create(folder, run)


def invite(gate: Gate, *, uses: int = 1, now: datetime = NOW, lasts: timedelta = HOUR) -> Ticket:
    return gate.invite(uses=uses, lasts=lasts, now=now, addresses=[ADDRESS])


def guest_of(gate: Gate, ticket: Ticket, now: datetime = NOW) -> Invitation:
    """As whom the gate takes the holder of the ticket."""
    peer = gate.peer(ticket.guest.certificate_chain_pem, now)
    assert isinstance(peer, Invitation)
    return peer


def newcomer(signing_key: bytes | None = None, wish: str = "", tls_key: str = "") -> Newcomer:
    """Somebody with fresh keys, where none are given."""
    return Newcomer(
        signing_key=signing_key or Ed25519PrivateKey.generate().public_key().public_bytes_raw(),
        tls_key=tls_key or key_id(new_key().public_key()),
        wish=wish,
        certified_until=NOW + HOUR,
    )


class Machine:
    """A machine that wants to take part, with keys of its own."""

    def __init__(self, gate: Gate, ticket: Ticket) -> None:
        self.gate = gate
        self.ticket = ticket
        self.signing_key = Ed25519PrivateKey.generate()
        self.tls_key: ec.EllipticCurvePrivateKey = new_key()

    def request(self, purpose: Purpose = Purpose.ENROLMENT, **changed: Any) -> EnrolmentRequest:
        given: dict[str, Any] = {
            "purpose": purpose,
            "run": self.ticket.run,
            "authority": self.ticket.fingerprint,
            "signing_key": self.signing_key,
            "tls_key": self.tls_key,
            "wish": "oslo",
            "version": "0.1.0",
            "facts": {"cores": 2, "free_bytes": 1.5e9, "isa": ["avx2", "avx512"]},
            "now": NOW,
        }
        return make_request(**{**given, **changed})

    def enrol(self, now: datetime = NOW, **changed: Any) -> Membership:
        request = self.request(now=now, **changed)
        answer = self.gate.admit(request, guest_of(self.gate, self.ticket, now), now)
        return self.accepts(answer)

    def renew(self, membership: Membership, now: datetime = NOW) -> Membership:
        peer = self.gate.peer(membership.credential.certificate_chain_pem, now)
        return self.accepts(self.gate.renew(self.request(Purpose.RENEWAL, now=now), peer, now))

    def accepts(self, answer: EnrolmentAnswer) -> Membership:
        return accept(answer, self.ticket.authority, self.tls_key)


@contextmanager
def enrolled(gate: Gate, ticket: Ticket, folder: Path, wish: str = "oslo") -> Iterator[tuple[Home, Membership]]:
    """A home whose worker has joined."""
    with open_home(folder) as home:
        request = home.request(ticket, Purpose.ENROLMENT, wish=wish, version="0.1.0", facts={}, now=NOW)
        yield home, home.keep(ticket, gate.admit(request, guest_of(gate, ticket), NOW))
