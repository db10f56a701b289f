"""Certificates and requests for them that others wrote: read, and refused with one word for it, `ValueError`.

Of a request only the public key is taken. What else it asks for, its subject and its extensions, is nobody's to ask.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shieldwall.transport.identity.certificates import key_id

LONGEST_CSR_BYTES = 4096
LONGEST_CERTIFICATE_BYTES = 16384

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` says of bytes that are no certificate, or none that it knows."""


def csr_for(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate signing request (PKCS#10, DER) for `key`, signed with it; it holds the public key alone."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def key_of_csr(content: bytes) -> ec.EllipticCurvePublicKey:
    """The public key whose owner signed the request.

    Raises:
        ValueError: it is too long or no request, its key is not P-256, or the signature is not that key's.
    """
    if len(content) > LONGEST_CSR_BYTES:
        raise ValueError(f"a certificate request of {len(content):,} bytes")
    try:
        request = x509.load_der_x509_csr(content)
        public = request.public_key()
    except UNREADABLE as error:
        raise ValueError("a certificate request that cannot be read") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not is_p256(public):
        raise ValueError("a certificate request for a key that is not P-256")
    try:
        signed = request.is_signature_valid
    except UNREADABLE as error:
        raise ValueError("a certificate request whose signature cannot be checked") from error
    if not signed:
        raise ValueError("a certificate request that its key has not signed")
    return public


def is_p256(public: object) -> bool:
    """Whether this is a public key of the one kind that is used here."""
    return isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)


def key_id_of_certificate(content: bytes) -> str:
    """`key_id` of the certificate that a peer has shown, given as text (PEM).

    TLS has seen to it that the peer holds the key. Nothing else in the certificate says who the peer is.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return key_id(x509.load_pem_x509_certificate(content).public_key())
    except UNREADABLE as error:
        raise ValueError("a certificate that cannot be read") from error


def read_authority(content: bytes) -> x509.Certificate:
    """The certificate of a run's authority, from its exact bytes (DER).

    Raises:
        ValueError: it is none: not readable, not P-256, not signed by itself, or not one that may sign others.
    """
    if len(content) > LONGEST_CERTIFICATE_BYTES:
        raise ValueError(f"a certificate of {len(content):,} bytes")
    try:
        certificate = x509.load_der_x509_certificate(content)
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        public = certificate.public_key()
    except UNREADABLE as error:
        raise ValueError("no certificate that signed itself") from error
    if not constraints.ca or not is_p256(public):
        raise ValueError("a certificate that may not sign others, or not with P-256")
    return certificate


def read_chain(content: bytes, authority: x509.Certificate) -> x509.Certificate:
    """The first certificate of a chain (PEM), which must be signed by `authority`.

    Raises:
        ValueError: it is not, or it cannot be read.
    """
    if len(content) > LONGEST_CERTIFICATE_BYTES:
        raise ValueError(f"certificates of {len(content):,} bytes")
    try:
        certificate = x509.load_pem_x509_certificates(content)[0]
        certificate.verify_directly_issued_by(authority)
        certificate.public_key()
    except UNREADABLE as error:
        raise ValueError("no certificate that the run's authority has signed") from error
    return certificate


def common_name(certificate: x509.Certificate) -> str:
    """The one common name of a certificate's subject.

    Raises:
        ValueError: it has none, several, or one that is no text.
    """
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise ValueError("a certificate without one common name")
    return names[0].value
