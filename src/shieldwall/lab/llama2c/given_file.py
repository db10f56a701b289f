"""Opening a file that the user named, or saying why that cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shieldwall.core.errors import ModelError


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The regular file at `path`, open for reading, and its size in bytes.

    Raises:
        ModelError: SW-M120; absent, no regular file, or the operating system refuses, also while it is being read.
    """
    if path.exists() and not path.is_file():
        raise _unreadable(path, "a folder" if path.is_dir() else "a device, a pipe or a socket")
    try:
        with path.open("rb") as handle:
            yield handle, os.fstat(handle.fileno()).st_size
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _unreadable(path: Path, got: str) -> ModelError:
    return ModelError(
        "SW-M120",
        "a file to convert cannot be read",
        where=str(path),
        expected="a regular file that this user may read",
        got=got,
        remedy="check the path with ls -l; the model's file comes first, then the tokenizer's",
    )
