"""Files that only their owner may read: private keys, and what lies beside them. They are never overwritten."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from shieldwall.core.errors import ShieldwallError
from shieldwall.core.files import PARTIAL, flush_to_disk, storing

OWNER_ONLY = 0o600
KEY_BYTES = 32
KEY_FORM = f"a file of mode 0600 with {2 * KEY_BYTES} hexadecimal digits"

Unusable = Callable[[Path, str, str], ShieldwallError]
"""Makes the room's own error of a path, what was expected there and what was found instead."""


def write_private(path: Path, content: bytes, unusable: Unusable) -> None:
    """Write `content` to a new file with mode 0600; it is there whole, or not at all.

    Raises:
        ShieldwallError: `unusable`; there is a file already.
        StorageError: SW-S101; there is none now.
    """
    partial = path.with_name(path.name + PARTIAL)
    with storing(path):
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, path)  # a rename would take the place of a file that is there
        except FileExistsError as error:
            raise unusable(path, "a file that is not there yet", "there is one; keys are never overwritten") from error
        finally:
            partial.unlink(missing_ok=True)
        flush_to_disk(path.parent)


def read_private(path: Path, limit_bytes: int, expected: str, unusable: Unusable) -> bytes:
    """The first `limit_bytes` of a file that nobody else may read.

    Raises:
        ShieldwallError: `unusable`; there is none, or it is no plain file, or others may read it.
    """
    try:
        check_private(path, expected, unusable)
        with path.open("rb") as file:
            return file.read(limit_bytes)
    except OSError as error:
        raise unusable(path, expected, error.strerror or str(error)) from error


def check_private(path: Path, expected: str, unusable: Unusable) -> None:
    """Whether `path` is a plain file that nobody else may read.

    Raises:
        ShieldwallError: `unusable`; it is not.
        OSError: it cannot be looked at, or is absent.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise unusable(path, expected, "a folder" if stat.S_ISDIR(mode) else "something that is no plain file")
    if mode & 0o077:
        raise unusable(path, expected, f"mode {mode & 0o777:04o}: others may read it")


def write_key_bytes(path: Path, key: bytes, unusable: Unusable) -> None:
    """Write a private key of 32 bytes as hexadecimal text to a new file with mode 0600.

    Raises:
        ShieldwallError: `unusable`; there is a file already.
        StorageError: SW-S101.
    """
    write_private(path, key.hex().encode() + b"\n", unusable)


def read_key_bytes(path: Path, unusable: Unusable) -> bytes:
    """The 32 bytes of a private key.

    Raises:
        ShieldwallError: `unusable`; there is none, or others may read it, or it is no key.
    """
    text = read_private(path, 2 * KEY_BYTES + 3, KEY_FORM, unusable)  # a line end may follow, of either kind
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError as error:
        raise unusable(path, KEY_FORM, "something else") from error
    if len(key) != KEY_BYTES:
        raise unusable(path, KEY_FORM, f"{len(key)} bytes")
    return key
