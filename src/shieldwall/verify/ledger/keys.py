"""Key files: 32 bytes as hexadecimal text, which only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shieldwall.core.errors import LedgerFileError
from shieldwall.core.files import flush_to_disk, storing

_KEY_BYTES = 32
_OWNER_ONLY = 0o600


def write_key(path: Path, key: X25519PrivateKey | Ed25519PrivateKey) -> None:
    """Write a private key to a new file with mode 0600.

    Raises:
        LedgerFileError: SW-L204; there is a file already, and a key is never overwritten.
        StorageError: SW-S101.
    """
    with storing(path):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        except FileExistsError as error:
            raise _unusable(path, "a file that is not there yet", "there is one; keys are never overwritten") from error
        with os.fdopen(handle, "w") as file:
            file.write(key.private_bytes_raw().hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        flush_to_disk(path.parent)


def read_evidence_key(path: Path) -> X25519PrivateKey:
    """A reviewer's key, which opens evidence.

    Raises:
        LedgerFileError: SW-L204; there is none, or others may read it, or it is no key.
    """
    return X25519PrivateKey.from_private_bytes(_read_key(path))


def read_run_key(path: Path) -> Ed25519PrivateKey:
    """The run's key, with which the initiator signs.

    Raises:
        LedgerFileError: SW-L204; there is none, or others may read it, or it is no key.
    """
    return Ed25519PrivateKey.from_private_bytes(_read_key(path))


def _read_key(path: Path) -> bytes:
    expected = f"a file of mode 0600 with {2 * _KEY_BYTES} hexadecimal digits"
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise _unusable(path, expected, "a folder" if stat.S_ISDIR(mode) else "something that is no plain file")
        if mode & 0o077:
            raise _unusable(path, expected, f"mode {mode & 0o777:04o}: others may read it")
        with path.open("rb") as file:
            text = file.read(2 * _KEY_BYTES + 3)  # a line end may follow, of either kind
        key = bytes.fromhex(text.decode("ascii").strip())
    except OSError as error:
        raise _unusable(path, expected, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unusable(path, expected, "something else") from error
    if len(key) != _KEY_BYTES:
        raise _unusable(path, expected, f"{len(key)} bytes")
    return key


def _unusable(path: Path, expected: str, got: str) -> LedgerFileError:
    return LedgerFileError(
        "SW-L204",
        "this key file cannot be used",
        where=str(path),
        expected=expected,
        got=got,
        remedy="give the file that was written when the run started; chmod 600 it if others may read it",
    )
