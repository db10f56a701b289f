"""Room in memory and on the disk, and the key files of the home."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from shieldwall.core.errors import IdentityError
from shieldwall.core.private_files import read_key_bytes
from shieldwall.run.machines.doctor.finding import Finding, bad, good
from shieldwall.run.memory import format_bytes
from shieldwall.transport.identity.authority import unusable
from shieldwall.transport.identity.home import key_files

LEAST_MEMORY_BYTES = 256 << 20
"""What is to be free where no plan says what it needs: for a small stage."""
LEAST_DISK_BYTES = 16 << 20
"""A home holds keys and certificates, and files are flushed beside the old ones."""


def check_memory(free_bytes: int, need_bytes: int = 0) -> Finding:
    """Whether the memory that is free is enough for the worker that needs most; for a small one where none is known."""
    free = f"{format_bytes(free_bytes)} free"
    least_bytes = need_bytes or LEAST_MEMORY_BYTES
    saw = f"{free}, the plan needs {format_bytes(need_bytes)} of a worker" if need_bytes else free
    if free_bytes >= least_bytes:
        return good("memory", saw)
    remedy = f"free {format_bytes(least_bytes - free_bytes)} more, or join from another machine"
    if need_bytes:
        remedy += "; or plan the run with more stages or smaller micro-batches"
    return bad("memory", saw, remedy, prevents=bool(need_bytes))


def check_disk(home: Path, free_bytes: int) -> Finding:
    """Whether keys can be written where the home is, or will be."""
    if not _can_hold_files(home):
        return bad("home", "nothing can be written there", "give another folder: --home DIR", str(home))
    saw = f"{format_bytes(free_bytes)} free on its disk"
    if free_bytes >= LEAST_DISK_BYTES:
        return good("home", saw, str(home))
    remedy = f"free at least {format_bytes(LEAST_DISK_BYTES)} there, or give another folder: --home DIR"
    return bad("home", saw, remedy, str(home))


def check_keys(home: Path) -> list[Finding]:
    """Whether the keys in the home are keys, and nobody else can read them."""
    found = key_files(home)
    if not found:
        return [good("keys", "none yet; the first join makes them", str(home))]
    return [_check_key(path) for path in found]


def free_disk_bytes(home: Path) -> int:
    """What is free for this user where the home is, or will be."""
    return shutil.disk_usage(_standing(home)).free


def _check_key(path: Path) -> Finding:
    try:
        read_key_bytes(path, unusable)
    except IdentityError as error:
        return bad("keys", error.got, error.remedy, str(path))
    return good("keys", "a key that its owner alone can read", str(path))


def _can_hold_files(home: Path) -> bool:
    place = _standing(home)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _standing(path: Path) -> Path:
    """The path itself, or the nearest above it that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
