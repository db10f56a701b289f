"""SQLite files: transactions that are on the disk when they return, or have changed nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shieldwall.core.files import storing


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Write to `path` while the block runs, alone; what the block raises takes all of it back.

    Args:
        connection: in autocommit mode (`isolation_level=None`).
        path: of its file.

    Raises:
        StorageError: SW-S101; the file is as it was.
    """
    with storing(path), sqlite_as_os():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def sqlite_as_os() -> Iterator[None]:
    """What SQLite says of the disk, as the operating system would say it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from error
