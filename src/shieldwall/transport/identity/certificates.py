"""Certificates and their keys: X.509 version 3 over P-256 with SHA-256, for TLS between the machines of one run.

P-256, because the TLS library of gRPC (BoringSSL) offers no Ed25519 unless it is told to. What a certificate may be
used for stands in its extensions, all of them set as RFC 5280, section 4.2, has it.

Nobody is anybody by a certificate's subject: `key_id` of its public key is what is looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH

ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
"""The validity of what is trusted for another reason than its dates.

Where dates would refuse a machine with a wrong clock, TLS could only say that the handshake failed. The second one is
RFC 5280's "no well-defined expiration date" (section 4.1.2.5).
"""


@dataclass(frozen=True)
class Credential:
    """What one end of a TLS connection shows, and the key that proves it."""

    private_key_pem: bytes = field(repr=False)
    certificate_chain_pem: bytes = field(repr=False)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key from the operating system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def key_id(public: CertificatePublicKeyTypes | ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo, DER), in hexadecimal: the name under which it is known."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def authority_certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, validity: tuple[datetime, datetime] = ALWAYS
) -> x509.Certificate:
    """A self-signed certificate that may sign others, though none that may sign in their turn."""
    builder = _begin(subject, subject, key.public_key(), validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256())


def leaf_certificate(
    subject: str,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    purpose: x509.ObjectIdentifier | Sequence[x509.ObjectIdentifier],
    host: str = "",
    validity: tuple[datetime, datetime] = ALWAYS,
) -> x509.Certificate:
    """A certificate of `issuer` that signs no others.

    Args:
        subject: common name.
        public: the key that it is for.
        issuer: a certificate of `authority_certificate`.
        issuer_key: its key.
        purpose: `CLIENT` or `SERVER`, or both, and nothing else.
        host: DNS name that a client of it asks for; none where it is empty.
        validity: from and until when.
    """
    builder = _begin(subject, issuer, public, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    purposes = [purpose] if isinstance(purpose, x509.ObjectIdentifier) else list(purpose)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(_issued_by(issuer), critical=False)
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as text, one after the other."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def der(certificate: x509.Certificate) -> bytes:
    """A certificate's exact bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> str:
    """What people compare: SHA-256 of a certificate's exact bytes, in hexadecimal."""
    return hashlib.sha256(der(certificate)).hexdigest()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as text, in the clear."""
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def _begin(
    subject: str, issuer: str | x509.Certificate, public: ec.EllipticCurvePublicKey, validity: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer) if isinstance(issuer, str) else issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
