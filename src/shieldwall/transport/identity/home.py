"""A worker's home: the folder with its keys, for one process at a time.

    identity.key                  Ed25519: what it signs its work with, in all runs
    runs/FINGERPRINT/tls.key      P-256: what it connects to one run with; the folder is named by the run's authority
    runs/FINGERPRINT/chain.pem    the certificate that the run gave it, and the run's own
    lock                          held while a worker lives here

Keys are 32 bytes as hexadecimal text, mode 0600. None of them is ever sent, logged or part of a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldwall.core.errors import EnrolmentError, IdentityError
from shieldwall.core.files import held_alone, storing, write_whole
from shieldwall.core.private_files import KEY_BYTES, KEY_FORM, read_key_bytes, write_key_bytes
from shieldwall.transport.identity.authority import unusable
from shieldwall.transport.identity.certificates import new_key
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, Purpose
from shieldwall.transport.identity.joining import Membership, accept, make_request, membership_of
from shieldwall.transport.identity.reading import LONGEST_CERTIFICATE_BYTES
from shieldwall.transport.identity.ticket import Ticket

IDENTITY_KEY = "identity.key"
TLS_KEY = "tls.key"
CHAIN = "chain.pem"


class Home:
    """An open home. Made by `open_home`.

    Args:
        folder: that it is.
        signing_key: what its worker signs with.
    """

    def __init__(self, folder: Path, signing_key: Ed25519PrivateKey) -> None:
        self.folder = folder
        self.signing_key = signing_key

    def request(
        self, ticket: Ticket, purpose: Purpose, *, wish: str, version: str, facts: Mapping[str, Any], now: datetime
    ) -> EnrolmentRequest:
        """Ask the run of `ticket` for a certificate; `make_request` with the keys of this home.

        Raises:
            IdentityError: SW-T211; a key file cannot be used.
            StorageError: SW-S101.
        """
        return make_request(
            purpose=purpose,
            run=ticket.run,
            authority=ticket.fingerprint,
            signing_key=self.signing_key,
            tls_key=self.tls_key(ticket),
            wish=wish,
            version=version,
            facts=facts,
            now=now,
        )

    def keep(self, ticket: Ticket, answer: EnrolmentAnswer) -> Membership:
        """Take the run's answer, and keep it for the next start.

        Raises:
            EnrolmentError: SW-T229; the certificate is another's, or not of this run. Nothing was kept.
            StorageError: SW-S101.
        """
        membership = accept(answer, ticket.authority, self.tls_key(ticket))
        write_whole(self._run_folder(ticket) / CHAIN, answer.chain_pem)
        return membership

    def membership(self, ticket: Ticket) -> Membership | None:
        """What was kept of the ticket's run, ended or not; None where there is nothing that can be used.

        A certificate is no treasure: where there is none, a ticket brings a new one for the same key.
        """
        return _membership(self._run_folder(ticket), ticket)

    def tls_key(self, ticket: Ticket) -> ec.EllipticCurvePrivateKey:
        """The key for connections to the ticket's run, made at its first use.

        Raises:
            IdentityError: SW-T211; the file cannot be used.
            StorageError: SW-S101.
        """
        path = self._run_folder(ticket) / TLS_KEY
        return _p256(path, _key_at(path, lambda: _scalar(new_key())))

    def _run_folder(self, ticket: Ticket) -> Path:
        folder = _run_folder(self.folder, ticket)
        with storing(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


@contextmanager
def open_home(folder: Path) -> Iterator[Home]:
    """A worker's home, made where there is none, for this process alone until the block ends.

    Raises:
        IdentityError: SW-T211, a key file cannot be used; SW-T213, another process lives here.
        StorageError: SW-S101.
    """
    with storing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    taken = IdentityError(
        "SW-T213",
        "another worker lives in this home",
        where=str(folder),
        expected="a folder for this worker alone: one key is one member",
        got="a folder that another process holds",
        remedy="give each worker a home of its own: shieldwall join TICKET --home DIR",
    )
    with held_alone(folder / "lock", taken):
        key = _key_at(folder / IDENTITY_KEY, lambda: Ed25519PrivateKey.generate().private_bytes_raw())
        yield Home(folder, Ed25519PrivateKey.from_private_bytes(key))


def look_up_membership(folder: Path, ticket: Ticket) -> Membership | None:
    """As `Home.membership`, of a home that is not opened: nothing is made or held, whoever lives there.

    Raises:
        IdentityError: SW-T211; the key file of this run cannot be used.
    """
    return _membership(_run_folder(folder, ticket), ticket)


def key_files(folder: Path) -> list[Path]:
    """The files of private keys that a home has now."""
    return [path for path in (folder / IDENTITY_KEY, *sorted(folder.glob(f"runs/*/{TLS_KEY}"))) if path.exists()]


def _run_folder(home: Path, ticket: Ticket) -> Path:
    return home / "runs" / ticket.fingerprint


def _membership(folder: Path, ticket: Ticket) -> Membership | None:
    path, key = folder / CHAIN, folder / TLS_KEY
    if not key.exists() or not path.is_file() or path.stat().st_size > LONGEST_CERTIFICATE_BYTES:
        return None
    tls_key = _p256(key, read_key_bytes(key, unusable))
    try:
        return membership_of(path.read_bytes(), ticket.authority, tls_key)
    except EnrolmentError:
        return None


def _p256(path: Path, scalar: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    except ValueError as error:
        raise unusable(path, KEY_FORM, "digits that are no P-256 key") from error


def _key_at(path: Path, fresh: Callable[[], bytes]) -> bytes:
    if not path.exists():
        write_key_bytes(path, fresh(), unusable)
    return read_key_bytes(path, unusable)


def _scalar(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes(KEY_BYTES, "big")
