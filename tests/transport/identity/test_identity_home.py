"""A worker's home: its keys are made once, stay there, and are nobody else's to read."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from gates import NOW, enrolled, guest_of, invite, make_gate

from shieldwall.core.errors import EnrolmentError, IdentityError
from shieldwall.transport.identity.enrolment import Purpose
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.home import CHAIN, IDENTITY_KEY, TLS_KEY, Home, open_home
from shieldwall.transport.identity.ticket import Ticket

pytest_plugins = ["gate_fixture"]


def secrets_of(home: Home, ticket: Ticket) -> list[bytes]:
    """Everything private that a joiner has, raw and as keys are written."""
    tls = home.tls_key(ticket)
    der = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    raw = [
        home.signing_key.private_bytes_raw(),
        tls.private_numbers().private_value.to_bytes(32, "big"),
        tls.private_bytes(*der),
        home.signing_key.private_bytes(*der),
        ticket.secret,
    ]
    written = [each.hex().encode() for each in raw] + [b64encode(each).rstrip(b"=")[:-1] for each in raw]
    return [*raw, *written, *(urlsafe_b64encode(each).rstrip(b"=")[:-1] for each in raw), b"PRIVATE"]


def test_no_private_key_leaves_home(gate: Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ticket = invite(gate)
    with enrolled(gate, ticket, tmp_path / "home") as (home, membership):
        sent = [
            home.request(ticket, purpose, wish="oslo", version="0.1.0", facts={"cores": 2}, now=NOW).to_bytes()
            for purpose in Purpose
        ]
        sent += [membership.credential.certificate_chain_pem, ticket.guest.certificate_chain_pem]
        sent += [repr(membership).encode(), repr(home).encode(), repr(ticket).encode(), caplog.text.encode()]
        for secret in secrets_of(home, ticket):
            assert len(secret) >= 7
            for content in sent:
                assert secret not in content
        assert home.signing_key.public_key().public_bytes_raw().hex().encode() in sent[0], "the search would find it"


def test_keys_are_made_once_and_are_their_owners_alone(gate: Gate, tmp_path: Path) -> None:
    folder, ticket = tmp_path / "home", invite(gate)
    with enrolled(gate, ticket, folder) as (home, membership):
        key, tls = home.signing_key.private_bytes_raw(), home.tls_key(ticket).private_numbers()
    files = [folder / IDENTITY_KEY, folder / "runs" / ticket.fingerprint / TLS_KEY]
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with open_home(folder) as home:
        assert home.signing_key.private_bytes_raw() == key
        assert home.tls_key(ticket).private_numbers() == tls
        assert home.membership(ticket) == membership
        other = invite(make_gate(tmp_path / "other"))
        assert home.tls_key(other).private_numbers() != tls, "runs cannot tell each other by it"
        assert home.membership(other) is None


def test_who_comes_again_has_its_old_name(gate: Gate, tmp_path: Path) -> None:
    with enrolled(gate, invite(gate), tmp_path / "home") as (_, first):
        pass
    with enrolled(gate, invite(gate), tmp_path / "home", wish="delft") as (_, again):
        assert again.name == first.name == "oslo"
    with enrolled(gate, invite(gate), tmp_path / "elsewhere") as (_, another):
        assert another.name == "oslo-2"


def test_a_home_is_for_one_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from shieldwall.transport.identity.home import open_home\n"
        "with open_home(Path(sys.argv[1])): print('in', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(IdentityError, match="SW-T213: another worker lives in this home"), open_home(tmp_path):
            pytest.fail("two in one home")
        other.kill()
    with open_home(tmp_path):
        pass


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "0 bytes"),
        (b"00" * 31, "31 bytes"),
        (b"xy" * 32, "something else"),
        (b"\xff" * 64, "something else"),
        (b"00" * 32, "digits that are no P-256 key"),
        (b"ff" * 32, "digits that are no P-256 key"),
    ],
)
def test_what_is_no_key_is_refused(gate: Gate, tmp_path: Path, content: bytes, got: str) -> None:
    ticket = invite(gate)
    with open_home(tmp_path / "home") as home:
        home.tls_key(ticket)
        path = tmp_path / "home" / "runs" / ticket.fingerprint / TLS_KEY
        path.write_bytes(content)
        with pytest.raises(IdentityError, match="SW-T211: this key file cannot be used") as refused:
            home.tls_key(ticket)
        assert refused.value.got == got
        assert path.read_bytes() == content, "never overwritten"


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    with open_home(tmp_path):
        pass
    (tmp_path / IDENTITY_KEY).chmod(0o644)
    with pytest.raises(IdentityError, match="mode 0644: others may read it"), open_home(tmp_path):
        pytest.fail("opened")
    with open_home(tmp_path / "next"):
        assert (tmp_path / "next").exists()


def test_a_certificate_that_cannot_be_used_is_as_good_as_none(gate: Gate, tmp_path: Path) -> None:
    ticket = invite(gate)
    with enrolled(gate, ticket, tmp_path / "home") as (home, _):
        path = tmp_path / "home" / "runs" / ticket.fingerprint / CHAIN
        whole = path.read_bytes()
        for content in (b"", b"none", whole[: len(whole) // 3], b"x" * 20_000):
            path.write_bytes(content)
            assert home.membership(ticket) is None
        answer = gate.admit(
            home.request(ticket, Purpose.ENROLMENT, wish="", version="0", facts={}, now=NOW),
            guest_of(gate, ticket),
            NOW,
        )
        path.unlink()
        with pytest.raises(EnrolmentError, match="SW-T229"):
            home.keep(ticket, type(answer)(name="delft", chain_pem=answer.chain_pem, expires=answer.expires))
        assert not path.exists()
        assert home.keep(ticket, answer) == home.membership(ticket)
