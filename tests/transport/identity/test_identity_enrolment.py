"""Enrolment: every proof is looked at, every part of a request is bound, and each refusal has its reason."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from gates import HOUR, NOW, Machine, guest_of, invite, make_gate
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.core.errors import EnrolmentError, ShieldwallError, TicketError
from shieldwall.core.signing import Identity
from shieldwall.transport.identity.certificates import new_key
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, EnrolmentStatement, Purpose
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.guest import guest_key
from shieldwall.transport.identity.members import Member
from shieldwall.transport.identity.reading import csr_for
from shieldwall.transport.identity.reply import read_refusal, refusal_bytes
from shieldwall.transport.identity.signing_keys import _SMALL_ORDER, is_binding

pytest_plugins = ["gate_fixture"]

MINUTE = timedelta(minutes=1)


@pytest.fixture
def machine(gate: Gate) -> Machine:
    return Machine(gate, invite(gate))


def refused(machine: Machine, request: EnrolmentRequest) -> ShieldwallError:
    """The error of a request that is refused, and costs nothing."""
    with pytest.raises(ShieldwallError) as error:
        machine.gate.admit(request, guest_of(machine.gate, machine.ticket), NOW)
    assert machine.gate.book.members() == ()
    assert guest_of(machine.gate, machine.ticket).used == 0
    return error.value


def test_a_guest_becomes_a_member_that_is_known_by_its_key(machine: Machine) -> None:
    membership = machine.enrol()
    assert (membership.name, membership.expires) == ("oslo", NOW + HOUR)
    member = machine.gate.peer(membership.credential.certificate_chain_pem, NOW)
    assert isinstance(member, Member)
    assert member.name == "oslo"
    assert member.signing_key == machine.signing_key.public_key().public_bytes_raw()


def test_every_part_of_a_request_is_bound(machine: Machine) -> None:
    """Whoever changes one of them in another's request has none that holds."""
    request = machine.request()
    changes: dict[str, Any] = {
        "purpose": Purpose.RENEWAL,
        "run": "run-8",
        "authority": "00" * 32,
        "csr": csr_for(new_key()),
        "wish": "delft",
        "version": "0.0.9",
        "time": NOW + MINUTE,
        "facts": {"cores": 64},
    }
    assert set(changes) == {field.name for field in fields(EnrolmentStatement)}
    for name, value in changes.items():
        changed = replace(request, statement=replace(request.statement, **{name: value}))
        assert refused(machine, changed).code == "SW-T221", name
    for key in (Ed25519PrivateKey.generate().public_key().public_bytes_raw(), bytes(32), bytes(31), b""):
        assert refused(machine, replace(request, signing_key=key)).code == "SW-T221"
    for signature in (bytes(64), b"", request.signature[:-1]):
        assert refused(machine, replace(request, signature=signature)).code == "SW-T221"
    machine.gate.admit(request, guest_of(machine.gate, machine.ticket), NOW)


def test_a_request_to_another_run_is_refused_however_well_it_is_signed(machine: Machine) -> None:
    for request in (machine.request(run="run-8"), machine.request(authority="00" * 32)):
        assert "another run" in str(refused(machine, request))
    assert "a request for enrolment" in str(refused(machine, machine.request(Purpose.RENEWAL)))


def csr(key: Any) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_certificate_request_that_proves_nothing_is_refused(machine: Machine) -> None:
    own = csr(new_key())
    forged = own[:-1] + bytes([own[-1] ^ 1])
    for content, words in (
        (forged, "that its key has not signed"),
        (csr(rsa.generate_private_key(65537, 2048)), "for a key that is not P-256"),
        (csr(ec.generate_private_key(ec.SECP384R1())), "for a key that is not P-256"),
        (b"", "that cannot be read"),
        (own[:-1], "that cannot be read"),
        (own + bytes(5000), "bytes"),
    ):
        statement = replace(machine.request().statement, csr=content)
        signature = Identity("", machine.signing_key).sign(statement).signature
        error = refused(machine, replace(machine.request(), statement=statement, signature=signature))
        assert error.code == "SW-T221"
        assert words in str(error)


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (timedelta(hours=1), "60 minutes ahead of the run's"),
        (-timedelta(hours=1), "60 minutes behind the run's"),
        (5 * MINUTE + timedelta(seconds=1), "5 minutes ahead of the run's"),
    ],
)
def test_a_clock_that_is_off_is_told_so_with_both_times(machine: Machine, skew: timedelta, words: str) -> None:
    error = refused(machine, machine.request(now=NOW + skew))
    assert error.code == "SW-T222"
    for part in (words, f"{NOW:%H:%M:%S} UTC on the run's", f"{NOW + skew:%H:%M:%S} UTC on the machine that joins"):
        assert part in str(error)


def test_clocks_may_differ_by_five_minutes(gate: Gate) -> None:
    for skew in (5 * MINUTE, -5 * MINUTE):
        machine = Machine(gate, invite(gate))
        gate.admit(machine.request(now=NOW + skew), guest_of(gate, machine.ticket), NOW)


def test_the_guests_key_cannot_become_a_members(machine: Machine) -> None:
    """Everybody with the ticket has that key, and would be that member."""
    key = guest_key(machine.ticket.secret, machine.ticket.fingerprint)
    assert refused(machine, machine.request(tls_key=key)).code == "SW-T225"


def test_a_member_renews_with_the_same_key_or_a_new_one(machine: Machine) -> None:
    first = machine.enrol()
    later = NOW + 30 * MINUTE
    second = machine.renew(first, later)
    assert second.expires == later + HOUR
    assert second.name == first.name
    peer = machine.gate.peer(first.credential.certificate_chain_pem, later)
    machine.tls_key = new_key()
    machine.accepts(machine.gate.renew(machine.request(Purpose.RENEWAL, now=later), peer, later))
    assert machine.gate.book.members()[0].certified_until == later + HOUR


def test_a_renewal_is_refused_to_others_and_to_the_banned(gate: Gate) -> None:
    machine, other = (Machine(gate, invite(gate)) for _ in range(2))
    mine, its = machine.enrol(), other.enrol()
    assert its.name == "oslo-2"
    me = gate.peer(mine.credential.certificate_chain_pem, NOW)
    with pytest.raises(EnrolmentError, match="SW-T221") as foreign:
        gate.renew(other.request(Purpose.RENEWAL), me, NOW)
    assert 'a request signed by "oslo"' in str(foreign.value)
    with pytest.raises(EnrolmentError, match="SW-T225"):
        gate.renew(machine.request(Purpose.RENEWAL, tls_key=other.tls_key), me, NOW)
    with pytest.raises(EnrolmentError, match="SW-T221"):
        gate.renew(machine.request(Purpose.ENROLMENT), me, NOW)
    gate.book.ban("oslo", "lied", NOW)
    with pytest.raises(EnrolmentError, match="SW-T223"):
        gate.renew(machine.request(Purpose.RENEWAL), me, NOW)


def test_guests_only_enrol_and_members_only_renew(machine: Machine) -> None:
    guest = guest_of(machine.gate, machine.ticket)
    with pytest.raises(EnrolmentError, match="SW-T221"):
        machine.gate.renew(machine.request(Purpose.RENEWAL), guest, NOW)
    member = machine.gate.peer(machine.enrol().credential.certificate_chain_pem, NOW)
    with pytest.raises(EnrolmentError, match="SW-T221"):
        machine.gate.admit(machine.request(), member, NOW)


def test_a_joiner_believes_its_own_run_alone(machine: Machine, tmp_path: Path) -> None:
    answer = machine.gate.admit(machine.request(), guest_of(machine.gate, machine.ticket), NOW)
    foreign = Machine(make_gate(tmp_path / "foreign"), machine.ticket)
    issue = foreign.gate.authority.issue_worker
    wrong = (
        replace(answer, chain_pem=issue("oslo", machine.tls_key.public_key(), NOW, NOW + HOUR)),
        replace(answer, chain_pem=machine.gate.authority.issue_worker("oslo", new_key().public_key(), NOW, NOW + HOUR)),
        replace(answer, name="delft"),
        replace(answer, expires=NOW),
        replace(answer, chain_pem=b"none"),
    )
    for other in wrong:
        with pytest.raises(EnrolmentError, match="SW-T229"):
            machine.accepts(other)
    assert machine.accepts(answer).name == "oslo"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TLS_KEY = new_key()


def _request(facts: dict[str, Any]) -> EnrolmentRequest:
    statement = EnrolmentStatement(
        purpose=Purpose.ENROLMENT,
        run="rün-7",
        authority="00" * 32,
        csr=csr_for(TLS_KEY),
        wish="",
        version="0.1.0",
        time=NOW,
        facts=facts,
    )
    return EnrolmentRequest(statement=statement, signing_key=bytes(32), signature=bytes(64))


@given(facts=st.dictionaries(st.text(), plain, max_size=4))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_request_arrives_as_it_was_sent(facts: dict[str, Any]) -> None:
    request = _request(facts)
    assert EnrolmentRequest.from_bytes(request.to_bytes()) == request


CONTENT = _request({"cores": 2}).to_bytes()


@given(share=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_request_with_a_byte_changed_is_refused_or_another_request(share: float, byte: int) -> None:
    """Bytes in text fields make another request, which its signature does not cover; all else is refused at once."""
    at = int(share * len(CONTENT))
    changed = CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :]
    try:
        read = EnrolmentRequest.from_bytes(changed)
    except EnrolmentError:
        assert changed != CONTENT
    else:
        assert read.to_bytes() == changed
        assert (read == EnrolmentRequest.from_bytes(CONTENT)) == (changed == CONTENT)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b"\xff\xfe",
        b"x" * 70_000,
        b'{"name":1,"chain":"","expires":""}',
        b'{"name":"a","chain":"","expires":"2026-03-01"}',
        b'{"name":"a","chain":"","expires":"2026-03-01T00:00:00+01:00"}',
        b'{"name":"a", "chain":"","expires":"2026-03-01T00:00:00+00:00"}',
        '{"name":"a","chain":"ü","expires":"2026-03-01T00:00:00+00:00"}'.encode(),
    ],
    ids=range(12),
)
def test_bytes_of_something_else_are_refused(content: bytes) -> None:
    with pytest.raises(EnrolmentError, match="SW-T221"):
        EnrolmentRequest.from_bytes(content)
    with pytest.raises(EnrolmentError, match="SW-T229"):
        EnrolmentAnswer.from_bytes(content)
    assert read_refusal(content).code == "SW-T229"


def test_facts_that_are_nested_deeply_are_refused() -> None:
    facts: dict[str, Any] = {}
    for _ in range(8):
        facts = {"a": facts}
    with pytest.raises(EnrolmentError, match="nested deeper than 8"):
        EnrolmentRequest.from_bytes(_request(facts).to_bytes())
    assert EnrolmentRequest.from_bytes(_request(facts["a"]).to_bytes())


def test_a_refusal_is_told_in_the_same_words(machine: Machine) -> None:
    for error in (
        refused(machine, machine.request(now=NOW + HOUR)),
        refused(machine, machine.request(wish="Oslo")),
        TicketError("SW-T205", "the ticket is used up", got="3 have"),
    ):
        assert isinstance(error, EnrolmentError | TicketError)
        told = read_refusal(refusal_bytes(error))
        assert type(told) is type(error)
        assert str(told) == str(error)
        assert told.exit_code == error.exit_code


def test_a_refusal_cannot_touch_the_terminal_or_invent_a_code() -> None:
    for error in (EnrolmentError("SW-T223", "\x1b[2J"), EnrolmentError("SW-Z999", "a"), TicketError("SW-T206", "b")):
        assert read_refusal(refusal_bytes(error)).code == "SW-T229"


def test_signing_keys_of_small_order_are_refused() -> None:
    """The oracle is the library itself: under each of them a signature that nobody made holds for some statement."""
    identity_point = (1).to_bytes(32, "little")
    for y in _SMALL_ORDER:
        for sign in (0, 1):
            public = (y | sign << 255).to_bytes(32, "little")
            assert not is_binding(public)
    for y in _SMALL_ORDER:
        assert any(_holds(y.to_bytes(32, "little"), identity_point + bytes(32), bytes([n])) for n in range(200)), hex(y)
    honest = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert is_binding(honest)
    assert not any(_holds(honest, identity_point + bytes(32), bytes([n])) for n in range(200))


def test_a_signature_that_anybody_can_write_enrols_nobody(machine: Machine) -> None:
    weak = (1).to_bytes(32, "little")
    assert _holds(weak, weak + bytes(32), b"whatever is said")
    error = refused(machine, replace(machine.request(), signing_key=weak, signature=weak + bytes(32)))
    assert error.code == "SW-T221"
    assert "whose signatures bind" in str(error)


def _holds(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_the_guests_key_is_derived_from_secret_and_run() -> None:
    """Both sides must have the same one in every version: the numbers are from an own HKDF, RFC 5869, by hmac."""
    secret, authority = bytes(range(16)), "ab" * 32
    extracted = hmac.digest(bytes.fromhex(authority), secret, hashlib.sha256)
    info, block, seed = b"shieldwall/1|guest key", b"", b""
    for count in (1, 2):
        block = hmac.digest(extracted, block + info + bytes([count]), hashlib.sha256)
        seed += block
    order = int("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551", 16)
    expected = int.from_bytes(seed[:48], "big") % (order - 1) + 1
    assert guest_key(secret, authority).private_numbers().private_value == expected
    assert guest_key(secret, "ac" * 32).private_numbers().private_value != expected
