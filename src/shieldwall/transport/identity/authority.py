"""A run's own certificate authority: who shows a certificate of it may connect, and nothing else says who that is.

It exists for one run, is trusted because a ticket carries its certificate, and so needs no name that anybody knows and
no date on which it ends. Its key lies in the run's private folder, in one file with its certificate (mode 0600): one
file is there whole or not at all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shieldwall.core.errors import IdentityError
from shieldwall.core.private_files import read_private, write_private
from shieldwall.transport.identity.certificates import (
    CLIENT,
    SERVER,
    Credential,
    authority_certificate,
    der,
    fingerprint,
    key_id,
    leaf_certificate,
    new_key,
    pem,
    private_pem,
)
from shieldwall.transport.identity.reading import LONGEST_CERTIFICATE_BYTES, UNREADABLE, read_authority

AUTHORITY_FILE = "authority.pem"
SERVER_HOST = "shieldwall"
"""The DNS name in the server's certificate, wherever the server is: who connects asks for this name."""


def worker_host(name: str) -> str:
    """The DNS name in a worker's certificate: who connects to a worker that listens asks for this name."""
    return f"{name}.worker.{SERVER_HOST}"


BACK_DATED = timedelta(minutes=10)
"""A worker's certificate is valid this long already when it is issued, for workers whose clocks are behind."""

_SUBJECT = "shieldwall authority"
_FORM = "a file of mode 0600 with a P-256 key and the certificate that it signed for itself"


class Authority:
    """The authority of one run. Made by `create` or `load`.

    Args:
        key: its private key.
        certificate: signed by itself with that key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @classmethod
    def create(cls, private: Path) -> Authority:
        """A new authority, kept in the run's private folder.

        Raises:
            IdentityError: SW-T211; there is one already.
            StorageError: SW-S101; there is none now.
        """
        key = new_key()
        authority = cls(key, authority_certificate(_SUBJECT, key))
        write_private(private / AUTHORITY_FILE, private_pem(key) + pem(authority.certificate), unusable)
        return authority

    @classmethod
    def load(cls, private: Path) -> Authority:
        """The authority of a run that goes on, or beside which something is done.

        Raises:
            IdentityError: SW-T211; there is none, or others may read it, or it is something else.
        """
        path = private / AUTHORITY_FILE
        content = read_private(path, LONGEST_CERTIFICATE_BYTES, _FORM, unusable)
        try:
            key = serialization.load_pem_private_key(content, password=None)
            certificate = read_authority(der(x509.load_pem_x509_certificate(content)))
        except UNREADABLE as error:
            raise unusable(path, _FORM, "something else") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise unusable(path, _FORM, "a key and the certificate of another one")
        return cls(key, certificate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its certificate, in hexadecimal."""
        return fingerprint(self.certificate)

    @property
    def key_id(self) -> str:
        """The name of its public key."""
        return key_id(self._key.public_key())

    @property
    def certificate_pem(self) -> bytes:
        """Its certificate as text: the one root that those who connect trust."""
        return pem(self.certificate)

    def issue_server(self) -> Credential:
        """What the server shows: a certificate for `SERVER_HOST`, with a fresh key that is kept in memory alone.

        It has no date on which it ends: its key ends with the process, and who could take it from there could take the
        authority's.
        """
        key = new_key()
        certificate = leaf_certificate(
            SERVER_HOST, key.public_key(), self.certificate, self._key, purpose=SERVER, host=SERVER_HOST
        )
        return Credential(private_pem(key), pem(certificate, self.certificate))

    def issue_worker(self, name: str, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime) -> bytes:
        """A worker's certificate, and the authority's after it, as text.

        It is good for both ends of a connection: a worker that listens shows it to workers that dial it.

        Args:
            name: the worker's name in the run, for people who look at it; its subject.
            public: the worker's key, whose owner has signed a request (`key_of_csr`).
            now: this machine's time.
            until: when it ends.
        """
        certificate = leaf_certificate(
            name,
            public,
            self.certificate,
            self._key,
            purpose=(CLIENT, SERVER),
            host=worker_host(name),
            validity=(now - BACK_DATED, until),
        )
        return pem(certificate, self.certificate)


def unusable(path: Path, expected: str, got: str) -> IdentityError:
    """A file of keys that cannot be used."""
    return IdentityError(
        "SW-T211",
        "this key file cannot be used",
        where=str(path),
        expected=expected,
        got=got,
        remedy="give the folder in which the file was written first; chmod 600 the file if others may read it",
    )
