"""Tensors behind a case: kept under their root, sealed for the reviewers, opened by whoever has their key.

    evidence/ROOT.sealed = magic, reviewers' public key, one-time public key, ciphertext

A piece is a safetensors file. It is sealed with ChaCha20-Poly1305 under a key that HKDF-SHA256 makes of an X25519
agreement between a one-time key and the reviewers' key. The run's name, the root and both public keys go into what is
authenticated, so no piece can be passed off as another's. The verdict, which the run's key has signed, names the root;
so nobody can put other tensors in its place either.

Source: RFC 7748 (X25519), RFC 5869 (HKDF), RFC 8439 (ChaCha20-Poly1305), all by `cryptography`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.errors import LedgerError, LedgerFileError
from shieldwall.core.files import storing, write_whole

EVIDENCE_FOLDER = "evidence"
"""Its name in the run's folder."""

_MAGIC = b"shieldwall evidence 1\n"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + 2 * _KEY_BYTES
_LARGEST_BYTES = 8 * 2**30
_META = "shieldwall"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence, opened: tensors by name, and what was noted with them."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class _Parts(NamedTuple):
    reviewers: bytes
    one_time: bytes
    ciphertext: bytes


class EvidenceStore:
    """The evidence of one run.

    Args:
        folder: `evidence/` of the run; it is made when the first piece comes.
        run: the run's name.
        public_key: the reviewers' X25519 key, 32 bytes; only sealing needs it.
        largest_bytes: of a sealed file that is read; a larger one is refused before memory is taken.
    """

    def __init__(
        self, folder: Path, run: str, public_key: bytes | None = None, *, largest_bytes: int = _LARGEST_BYTES
    ) -> None:
        self.folder = folder
        self._run = run
        self._public_key = public_key
        self._largest_bytes = largest_bytes

    def put(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
        """Seal tensors for the reviewers.

        Args:
            tensors: of any shape and type, by name.
            meta: plain data that says what they are.

        Returns:
            The root of the piece (SHA-256 of what was sealed, hexadecimal), its file's name. What is there already is
            left as it is.

        Raises:
            StorageError: SW-S101; nothing was added.
        """
        if self._public_key is None:
            raise ValueError("this store has no key to seal for")
        content = _content(tensors, meta)
        root = _root(content)
        path = self.path(root)
        if not path.exists():
            with storing(path):
                self.folder.mkdir(exist_ok=True)
            write_whole(path, _seal(content, self._run, root, self._public_key))
        return root

    def path(self, root: str) -> Path:
        """Where a piece of evidence lies, or would lie."""
        return self.folder / f"{root}.sealed"

    def read(self, root: str, private_key: X25519PrivateKey) -> Evidence:
        """Open a piece of evidence.

        Raises:
            LedgerFileError: SW-L203, there is no such piece; SW-L205, it is sealed for another key.
            LedgerError: SW-L110; it is not what was sealed under that root in this run.
        """
        parts = self._parts(root)
        if parts.reviewers != private_key.public_key().public_bytes_raw():
            raise LedgerFileError(
                "SW-L205",
                "this key does not open the evidence",
                where=str(self.path(root)),
                expected=f"the key whose public half is {parts.reviewers.hex()}",
                got=f"one whose public half is {private_key.public_key().public_bytes_raw().hex()}",
                remedy="give the reviewers' key of this very run: --reviewer-key FILE",
            )
        content = self._open(root, parts, private_key)
        if _root(content) != root:
            raise self._tampered(root, "its content has another root")
        try:
            plain = _meta_of(content)
            return Evidence(load(content), plain)
        except (SafetensorError, ValueError, KeyError) as error:
            raise self._tampered(root, f"it is no piece of evidence: {error}") from error

    def _open(self, root: str, parts: _Parts, private_key: X25519PrivateKey) -> bytes:
        try:
            shared = private_key.exchange(X25519PublicKey.from_public_bytes(parts.one_time))
            key, nonce = _keys(shared, parts.reviewers, parts.one_time)
            bound = _bound(self._run, root, parts.reviewers, parts.one_time)
            return ChaCha20Poly1305(key).decrypt(nonce, parts.ciphertext, bound)
        except (InvalidTag, ValueError) as error:
            raise self._tampered(root, "it does not open with the right key") from error

    def _parts(self, root: str) -> _Parts:
        path = self.path(root)
        if not _is_root(root) or not path.is_file():
            raise LedgerFileError(
                "SW-L203",
                "a piece of evidence is missing",
                where=str(path),
                expected="the sealed file that the verdict names",
                got="no such file",
                remedy="copy the whole folder evidence/ from where the run was trained",
            )
        size_bytes = path.stat().st_size
        if not _HEADER_BYTES + _TAG_BYTES <= size_bytes <= self._largest_bytes:
            raise self._tampered(root, f"{size_bytes:,} bytes, between 1 and {self._largest_bytes:,} are possible")
        sealed = path.read_bytes()
        magic, rest = sealed[: len(_MAGIC)], sealed[len(_MAGIC) :]
        if magic != _MAGIC:
            raise self._tampered(root, "it does not begin as sealed evidence does")
        return _Parts(rest[:_KEY_BYTES], rest[_KEY_BYTES : 2 * _KEY_BYTES], rest[2 * _KEY_BYTES :])

    def _tampered(self, root: str, got: str) -> LedgerError:
        return LedgerError(
            "SW-L110",
            "a piece of evidence is not what was sealed",
            where=str(self.path(root)),
            expected=f"what was sealed under that root in run {self._run}",
            got=got,
            remedy="copy the file again from where the run was trained; the case cannot be judged without it",
        )


def _content(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """The same tensors and notes give the same bytes, so one piece has one root."""
    kept = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    return bytes(save(kept, metadata={_META: canonical_bytes(dict(meta)).decode()}))


def _root(content: bytes) -> str:
    return hashlib.sha256(b"shieldwall/1|evidence|" + content).hexdigest()


def _seal(content: bytes, run: str, root: str, public_key: bytes) -> bytes:
    one_time_key = X25519PrivateKey.generate()
    one_time = one_time_key.public_key().public_bytes_raw()
    shared = one_time_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    key, nonce = _keys(shared, public_key, one_time)
    ciphertext = ChaCha20Poly1305(key).encrypt(nonce, content, _bound(run, root, public_key, one_time))
    return _MAGIC + public_key + one_time + ciphertext


def _keys(shared: bytes, reviewers: bytes, one_time: bytes) -> tuple[bytes, bytes]:
    """Key and nonce; both are used once, since the one-time key is."""
    derive = HKDF(SHA256(), _KEY_BYTES + _NONCE_BYTES, salt=one_time + reviewers, info=b"shieldwall/1|evidence key")
    derived = derive.derive(shared)
    return derived[:_KEY_BYTES], derived[_KEY_BYTES:]


def _bound(run: str, root: str, reviewers: bytes, one_time: bytes) -> bytes:
    names = {"run": run, "root": root, "reviewers": reviewers.hex(), "one_time": one_time.hex()}
    return b"shieldwall/1|evidence|" + canonical_bytes(names)


def _is_root(text: str) -> bool:
    """Roots come from a ledger: nothing else may become a part of a path."""
    return len(text) == 2 * SHA256.digest_size and all(digit in "0123456789abcdef" for digit in text)


def _meta_of(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    meta = json.loads(header["__metadata__"][_META])
    if not isinstance(meta, dict):
        raise ValueError("its notes are no object")
    return meta
