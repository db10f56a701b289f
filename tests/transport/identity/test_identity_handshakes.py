"""Over a real connection: who has no ticket gets no further than the handshake, and a name gets nobody anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from gates import HOUR, Machine, guest_of, invite, make_gate
from loopback import Loopback, listening

from shieldwall.core.errors import EnrolmentError, TicketError
from shieldwall.transport.identity.book import REMEMBERED
from shieldwall.transport.identity.certificates import (
    ALWAYS,
    CLIENT,
    Credential,
    authority_certificate,
    leaf_certificate,
    new_key,
    pem,
    private_pem,
)
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, Purpose
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.guest import guest_key, guest_root
from shieldwall.transport.identity.joining import Membership

pytest_plugins = ["gate_fixture"]

NOW = utc_now()
"""TLS looks at the real clock."""


@pytest.fixture
def server(gate: Gate) -> Iterator[Loopback]:
    with listening(gate, NOW) as loopback:
        yield loopback


def who(server: Loopback, credential: Credential) -> str:
    """What the server takes the holder of a credential for; "" where the handshake failed."""
    before = server.service.calls
    try:
        return server.call(credential, server.service.gate.authority.certificate_pem).decode()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and server.service.calls == before:
            return ""
        raise


def signed_by(
    root_key: ec.EllipticCurvePrivateKey, subject: str, key: ec.EllipticCurvePrivateKey | None = None
) -> Credential:
    """A certificate that the holder of a ticket made: any subject, for a key of its own."""
    own = key or new_key()
    leaf = leaf_certificate(subject, own.public_key(), guest_root(root_key), root_key, purpose=CLIENT)
    return Credential(private_pem(own), pem(leaf))


def enrol(server: Loopback, machine: Machine) -> Membership:
    request = machine.request(now=NOW).to_bytes()
    answer = server.call(machine.ticket.guest, machine.ticket.authority_pem, "enrol", request)
    return machine.accepts(EnrolmentAnswer.from_bytes(answer))


def test_a_machine_with_a_ticket_joins_and_renews_over_one_port(server: Loopback) -> None:
    gate = server.service.gate
    machine = Machine(gate, invite(gate, now=NOW))
    assert who(server, machine.ticket.guest) == "guest"
    membership = enrol(server, machine)
    assert who(server, membership.credential) == "member oslo"
    request = machine.request(Purpose.RENEWAL, now=NOW).to_bytes()
    renewed = server.call(membership.credential, machine.ticket.authority_pem, "renew", request)
    assert who(server, machine.accepts(EnrolmentAnswer.from_bytes(renewed)).credential) == "member oslo"
    assert server.service.calls == 5


def test_strangers_fail_in_the_handshake(server: Loopback, tmp_path: Path) -> None:
    gate = server.service.gate
    ticket = invite(gate, now=NOW)
    foreign = make_gate(tmp_path / "foreign")
    key = new_key()
    root = authority_certificate("shieldwall authority", key)
    leaf = leaf_certificate("oslo", key.public_key(), root, key, purpose=CLIENT)
    for what, credential in {
        "a guest of another run": invite(foreign, now=NOW).guest,
        "a member of another run": Machine(foreign, invite(foreign, now=NOW)).enrol(NOW).credential,
        "an authority of the same name": Credential(private_pem(key), pem(leaf, root)),
        "a root of the ticket's name with another key": signed_by(key, "guest"),
        "a certificate that signs itself": Credential(private_pem(key), pem(root)),
    }.items():
        assert who(server, credential) == "", what
    with pytest.raises(grpc.RpcError), grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        channel.unary_unary("/gate/who")(b"", timeout=30)
    assert server.service.calls == 0
    assert who(server, ticket.guest) == "guest", "the clean twin is let in"


def test_a_ticket_made_while_the_server_runs_lets_in_at_once_and_until_it_is_forgotten(gate: Gate) -> None:
    with listening(gate, NOW) as server:
        ticket = Gate.load(gate.book.path.parent).invite(
            uses=1, lasts=HOUR, now=NOW, addresses=[f"127.0.0.1:{server.port}"]
        )
        assert who(server, ticket.guest) == "guest"
    with listening(gate, NOW + HOUR + REMEMBERED) as server:
        assert who(server, ticket.guest) == ""


def test_a_guest_cannot_become_a_member_by_signing_its_name(server: Loopback) -> None:
    """The guest's root is trusted in handshakes, so this certificate passes there; its key is nobody's."""
    gate = server.service.gate
    ticket = invite(gate, uses=2, now=NOW)
    member = enrol(server, Machine(gate, ticket))
    assert member.name == "oslo"
    key = guest_key(ticket.secret, ticket.fingerprint)
    for name in ("oslo", "initiator", "guest"):
        before = server.service.calls
        with pytest.raises(EnrolmentError, match="SW-T226: nobody in the run's book has this key"):
            who(server, signed_by(key, name))
        assert server.service.calls == before + 1, "it got through the handshake"
    assert who(server, signed_by(key, "oslo", key)) == "guest", "the guest's own key stays a guest's"
    request = Machine(gate, ticket).request(Purpose.RENEWAL, now=NOW).to_bytes()
    with pytest.raises(EnrolmentError, match="SW-T221"):
        server.call(signed_by(key, "oslo", key), ticket.authority_pem, "renew", request)


def test_expired_and_used_up_tickets_are_told_so(gate: Gate) -> None:
    used = Machine(gate, invite(gate, now=NOW))
    used.enrol(NOW)
    late = Machine(gate, invite(gate, now=NOW - 2 * HOUR))
    with listening(gate, NOW) as server:
        with pytest.raises(TicketError, match="SW-T204: the ticket has expired"):
            enrol(server, late)
        with pytest.raises(TicketError, match="SW-T205: the ticket is used up"):
            enrol(server, Machine(gate, used.ticket))


def test_a_machine_whose_clock_is_off_by_an_hour_is_told_so(server: Loopback) -> None:
    """Its clock does not decide about the handshake, where nothing could be said."""
    machine = Machine(server.service.gate, invite(server.service.gate, now=NOW))
    request = machine.request(now=NOW - HOUR).to_bytes()
    with pytest.raises(EnrolmentError, match="SW-T222") as refused:
        server.call(machine.ticket.guest, machine.ticket.authority_pem, "enrol", request)
    assert "60 minutes behind the run's" in str(refused.value)


def test_a_ban_takes_effect_on_a_certificate_that_is_still_good(server: Loopback) -> None:
    gate = server.service.gate
    member = enrol(server, Machine(gate, invite(gate, now=NOW)))
    assert who(server, member.credential) == "member oslo"
    Gate.load(gate.book.path.parent).book.ban("oslo", "lied", NOW)
    with pytest.raises(EnrolmentError, match='SW-T223: "oslo" is banned'):
        who(server, member.credential)


def test_a_certificate_that_has_ended_is_refused_by_tls_and_by_the_book(gate: Gate) -> None:
    early = NOW - 2 * HOUR
    machine = Machine(gate, invite(gate, now=early, lasts=timedelta(days=1)))
    ended = machine.enrol(early)
    with listening(gate, NOW) as server:
        assert who(server, ended.credential) == ""
        # with a ticket it can sign a certificate without an end for its own key; the book knows the end
        key = guest_key(machine.ticket.secret, machine.ticket.fingerprint)
        with pytest.raises(EnrolmentError, match='SW-T227: the certificate of "oslo" has ended'):
            who(server, signed_by(key, "oslo", machine.tls_key))


def test_nobody_but_the_run_is_taken_for_the_run(gate: Gate, tmp_path: Path) -> None:
    ticket = invite(gate, now=NOW)
    member = Machine(gate, invite(gate, now=NOW)).enrol(NOW)
    foreign = make_gate(tmp_path / "foreign")
    key = guest_key(ticket.secret, ticket.fingerprint)
    for shows in (foreign.server, member.credential, signed_by(key, "shieldwall")):
        with listening(gate, NOW, shows) as server:
            assert who(server, ticket.guest) == ""
    with listening(gate, NOW) as server:
        assert who(server, ticket.guest) == "guest"
        assert guest_of(gate, ticket, NOW).used == 0
    assert ALWAYS[0] < NOW < ALWAYS[1]
