"""Files that are whole or absent: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from shieldwall.core.errors import ShieldwallError, StorageError

PARTIAL = ".partial"
"""The ending of what is being written; safe to delete at any time when no run is writing."""


@contextmanager
def storing(target: Path) -> Iterator[None]:
    """Turn what the operating system says while `target` is written into a `StorageError`.

    Raises:
        StorageError: SW-S101; the disk is full, a limit was hit or a right is missing.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StorageError(
            "SW-S101",
            f"could not write {target.name}",
            where=str(target),
            expected="room and the right to write there",
            got=getattr(error, "strerror", None) or str(error),
            state="what was being written is removed; whatever was there before stands",
            remedy="free some room (or the quota) on that disk, then run the same command again; a run with --resume",
        ) from error


@contextmanager
def held_alone(lock: Path, taken: ShieldwallError) -> Iterator[None]:
    """Keep other processes out while the block runs; the lock goes with the process, however it ends.

    Raises:
        ShieldwallError: `taken`; another process holds `lock`.
        StorageError: SW-S101; it cannot be written.
    """
    with storing(lock):
        handle = lock.open("w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise taken from error
        yield


def flush_to_disk(path: Path) -> None:
    """Wait until the file or folder at `path` is on the disk, not only in the cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either what it held before or all of it.

    Raises:
        StorageError: SW-S101; `path` is as it was.
    """
    partial = path.with_name(path.name + PARTIAL)
    with storing(path):
        try:
            with partial.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
            flush_to_disk(path.parent)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `target` in one rename when the block ends without an error.

    A kill at any instant leaves either no `target` or the whole one, and at most a `.partial` folder beside it, which
    the next call removes.

    Raises:
        StorageError: SW-S101; `target` does not exist, the partial folder is removed.
        FileExistsError: `target` exists already; a mistake of the caller.
    """
    if target.exists():
        raise FileExistsError(target)
    partial = target.with_name(target.name + PARTIAL)
    with storing(target):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            for path in sorted(partial.rglob("*")):
                flush_to_disk(path)
            flush_to_disk(partial)
            partial.rename(target)
            flush_to_disk(target.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def remove_whole(folder: Path) -> None:
    """Remove a folder so that a kill on the way leaves a partial one, never a whole one with files missing.

    Raises:
        StorageError: SW-S101.
    """
    aside = folder.with_name(folder.name + PARTIAL)
    with storing(folder):
        folder.rename(aside)
        shutil.rmtree(aside)


def remove_partials(folder: Path) -> None:
    """Delete what an interrupted writer left in `folder` (not deeper)."""
    for path in folder.glob(f"*{PARTIAL}"):
        with storing(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
