"""Who says what: Ed25519 keys, and statements that their signer cannot take back.

A signature covers a domain tag and the statement's canonical bytes, so that what was signed for one purpose can never
be used for another (facts: RFC 8032; keys and signatures by `cryptography`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shieldwall.core.canonical import canonical_bytes


class Statement(Protocol):
    """Plain data that somebody can sign."""

    kind: ClassVar[str]
    """Domain tag of its signature, and its name in the ledger."""

    def to_json(self) -> dict[str, Any]:
        """Plain data that holds all of it."""


_REMEMBERED = 4096
"""How many signatures a process remembers to have checked: those of some steps."""
_WORTH_REMEMBERING_BYTES = 4096
"""Longer statements are checked each time, so that nobody can fill the memory with them."""

S = TypeVar("S", bound=Statement)
S_co = TypeVar("S_co", bound=Statement, covariant=True)


@dataclass(frozen=True)
class Signed(Generic[S_co]):
    """A statement, who says it, and the proof (64 bytes). Nothing is known about the proof until a `Roster` says so."""

    statement: S_co
    signer: str
    signature: bytes

    @cached_property
    def content(self) -> bytes:
        """The statement's canonical bytes: what the signature covers, and the body of its row in the ledger."""
        return canonical_bytes(self.statement.to_json())


class Identity:
    """A party that can sign.

    Args:
        name: the party's name in the run.
        key: its private key; drawn from the operating system if not given.
    """

    def __init__(self, name: str, key: Ed25519PrivateKey | None = None) -> None:
        self.name = name
        self.key = key or Ed25519PrivateKey.generate()

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    def sign(self, statement: S) -> Signed[S]:
        """`statement` with this party's signature."""
        content = canonical_bytes(statement.to_json())
        return Signed(statement, self.name, self.key.sign(_signed_bytes(statement.kind, content)))


class Roster:
    """The parties of a run and their public keys.

    Args:
        keys: name to public key, 32 bytes each.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self.keys = dict(keys)
        for key in keys.values():
            _public_key(key)  # a name whose key is none is refused here, not when it first signs

    def holds(self, signed: Signed[Any]) -> bool:
        """Whether the signer is known here and the signature is its own."""
        return self.verifies(signed.signer, signed.statement.kind, signed.content, signed.signature)

    def verifies(self, signer: str, kind: str, content: bytes, signature: bytes) -> bool:
        """The same for a statement's canonical bytes, such as the ledger keeps."""
        key, message = self.keys.get(signer), _signed_bytes(kind, content)
        if key is None:
            return False
        is_signed_by = _remembered if len(message) <= _WORTH_REMEMBERING_BYTES else _is_signed_by
        return is_signed_by(key, signature, message)


def _is_signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether these exact bytes carry that key's signature; the guards and the court of one process ask the same."""
    try:
        _public_key(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


_remembered = lru_cache(maxsize=_REMEMBERED)(_is_signed_by)


@lru_cache(maxsize=_REMEMBERED)
def _public_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def fingerprint(public: bytes) -> str:
    """What people compare: SHA-256 of a public key, in hexadecimal."""
    return hashlib.sha256(public).hexdigest()


def _signed_bytes(kind: str, content: bytes) -> bytes:
    return b"shieldwall/1|" + kind.encode() + b"|" + content
