"""Key files: 32 bytes as hexadecimal text, which only their owner may read."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shieldwall.core.errors import LedgerFileError
from shieldwall.core.private_files import read_key_bytes, write_key_bytes


def write_key(path: Path, key: X25519PrivateKey | Ed25519PrivateKey) -> None:
    """Write a private key to a new file with mode 0600.

    Raises:
        LedgerFileError: SW-L204; there is a file already, and a key is never overwritten.
        StorageError: SW-S101.
    """
    write_key_bytes(path, key.private_bytes_raw(), _unusable)


def read_evidence_key(path: Path) -> X25519PrivateKey:
    """A reviewer's key, which opens evidence.

    Raises:
        LedgerFileError: SW-L204; there is none, or others may read it, or it is no key.
    """
    return X25519PrivateKey.from_private_bytes(read_key_bytes(path, _unusable))


def read_run_key(path: Path) -> Ed25519PrivateKey:
    """The run's key, with which the initiator signs.

    Raises:
        LedgerFileError: SW-L204; there is none, or others may read it, or it is no key.
    """
    return Ed25519PrivateKey.from_private_bytes(read_key_bytes(path, _unusable))


def _unusable(path: Path, expected: str, got: str) -> LedgerFileError:
    return LedgerFileError(
        "SW-L204",
        "this key file cannot be used",
        where=str(path),
        expected=expected,
        got=got,
        remedy="give the file that was written when the run started; chmod 600 it if others may read it",
    )
