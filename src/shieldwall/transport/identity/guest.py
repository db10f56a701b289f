"""Guests: who holds a ticket can connect, and ask to be enrolled.

From a ticket's secret both sides derive one P-256 key. The server trusts a root certificate of that key beside its own
authority's; the joiner shows a leaf that the same key has signed. So everything goes over one port with mutual TLS,
enrolment included, and who has no ticket gets no further than the handshake. The server keeps the root, not the secret.

    ticket's secret --HKDF--> key --+-- server: root  "guest-ID", CA, self-signed   (in the book of members)
                                    `-- joiner: leaf  "guest" of "guest-ID"          (shown in the handshake)

A guest can sign certificates with any name in them, so names in certificates mean nothing anywhere; `Book.peer` goes
by the public key alone, and the guest's key may only enrol.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shieldwall.transport.identity.certificates import (
    CLIENT,
    Credential,
    authority_certificate,
    key_id,
    leaf_certificate,
    pem,
    private_pem,
)

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (FIPS 186-5; SP 800-186, section 3.2.1.3)."""
_SEED_BYTES = 48
"""More than the order has, so that no key is likelier than another by more than 2^-128 (FIPS 186-5, A.2.1)."""


def guest_key(secret: bytes, authority: str) -> ec.EllipticCurvePrivateKey:
    """The key of all guests with one ticket.

    Args:
        secret: the ticket's.
        authority: fingerprint of the run's authority, so that one secret is never one key in two runs.
    """
    info = b"shieldwall/1|guest key"
    seed = HKDF(hashes.SHA256(), _SEED_BYTES, salt=bytes.fromhex(authority), info=info).derive(secret)
    return ec.derive_private_key(int.from_bytes(seed, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def guest_root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """What the server trusts while the ticket is good; its end is in the book, where its reason can be told."""
    return authority_certificate(f"guest-{key_id(key.public_key())[:16]}", key)


def guest_credential(secret: bytes, authority: str) -> Credential:
    """What a joiner shows to be let in to ask.

    Args:
        secret: the ticket's.
        authority: fingerprint of the run's authority.
    """
    key = guest_key(secret, authority)
    return Credential(
        private_pem(key), pem(leaf_certificate("guest", key.public_key(), guest_root(key), key, purpose=CLIENT))
    )
