"""The joiner's side of enrolment: what it asks with its own keys, and what it believes of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldwall.core.signing import Identity
from shieldwall.transport.identity.certificates import Credential, private_pem
from shieldwall.transport.identity.enrolment import (
    EnrolmentAnswer,
    EnrolmentRequest,
    EnrolmentStatement,
    Purpose,
    bad_answer,
)
from shieldwall.transport.identity.reading import common_name, csr_for, read_authority, read_chain


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A joiner's place in one run: its name, and what it shows from now on."""

    name: str
    expires: datetime
    """When its certificate ends, in UTC."""
    credential: Credential


def make_request(
    *,
    purpose: Purpose,
    run: str,
    authority: str,
    signing_key: Ed25519PrivateKey,
    tls_key: ec.EllipticCurvePrivateKey,
    wish: str,
    version: str,
    facts: Mapping[str, Any],
    now: datetime,
) -> EnrolmentRequest:
    """Ask for a certificate, as a guest or as a member.

    Args:
        purpose: to enrol, or to renew.
        run: the run's name, from the ticket.
        authority: fingerprint of the run's authority, from the ticket.
        signing_key: what the joiner signs its work with.
        tls_key: what it connects with.
        wish: the name that it would like; "" for any.
        version: of its package.
        facts: of its machine, plain data that JSON can hold, nested at most eight deep.
        now: its clock, in UTC and to the second.

    Returns:
        The request; it holds public keys and signatures, and nothing private.
    """
    statement = EnrolmentStatement(
        purpose=purpose,
        run=run,
        authority=authority,
        csr=csr_for(tls_key),
        wish=wish,
        version=version,
        time=now,
        facts=facts,
    )
    signed = Identity("", signing_key).sign(statement)
    public = signing_key.public_key().public_bytes_raw()
    return EnrolmentRequest(statement=statement, signing_key=public, signature=signed.signature)


def accept(answer: EnrolmentAnswer, authority: bytes, tls_key: ec.EllipticCurvePrivateKey) -> Membership:
    """What the answer gives, if it is the run's own and for this key.

    Args:
        answer: to the request with `tls_key`.
        authority: the certificate of the run's authority (DER), from the ticket.
        tls_key: what the request was for.

    Raises:
        EnrolmentError: SW-T229; the certificate is another's, or not of this run.
    """
    membership = membership_of(answer.chain_pem, authority, tls_key)
    if membership.name != answer.name or membership.expires != answer.expires:
        raise bad_answer(f'a certificate for "{answer.name}" with the same end', f'one for "{membership.name}"')
    return membership


def membership_of(chain_pem: bytes, authority: bytes, tls_key: ec.EllipticCurvePrivateKey) -> Membership:
    """What a chain of certificates (PEM) gives to the holder of `tls_key`.

    Raises:
        EnrolmentError: SW-T229; the certificate is another's, or not of this run.
    """
    try:
        certificate = read_chain(chain_pem, read_authority(authority))
        name = common_name(certificate)
    except ValueError as error:
        raise bad_answer("a certificate that the run's authority has signed", str(error)) from error
    if certificate.public_key() != tls_key.public_key():
        raise bad_answer("a certificate for the key that was sent", "one for another key")
    return Membership(name=name, expires=_end(certificate), credential=Credential(private_pem(tls_key), chain_pem))


def _end(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_after_utc.astimezone(UTC)
