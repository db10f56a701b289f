"""The file of the book: SQLite, mode 0600, for several processes at once.

Every operation opens the file anew, so that the run, its threads and the commands beside it need not know of each
other; one that writes is alone in it, and on the disk when it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from shieldwall.core.databases import sqlite_as_os, transaction
from shieldwall.core.errors import IdentityError
from shieldwall.core.files import PARTIAL, flush_to_disk, storing
from shieldwall.core.private_files import check_private, write_private

BOOK_FILE = "members.sqlite"

_MARK = 0x73776D62
"""`application_id` in the file's head: "swmb"."""
_BUSY_S = 30.0
"""How long an operation waits for others."""
_FORM = "the book of members, a SQLite file of mode 0600 that the run wrote"

_SCHEMA = """
CREATE TABLE run (name TEXT NOT NULL, authority TEXT NOT NULL, addresses TEXT NOT NULL);
CREATE TABLE invitations (
    id TEXT PRIMARY KEY, root BLOB NOT NULL, expires_s INTEGER NOT NULL, uses INTEGER NOT NULL
);
CREATE TABLE members (
    name TEXT PRIMARY KEY, signing_key BLOB NOT NULL UNIQUE, state TEXT NOT NULL, since_s INTEGER NOT NULL,
    why TEXT NOT NULL
);
CREATE TABLE redemptions (
    invitation TEXT NOT NULL REFERENCES invitations, member TEXT NOT NULL REFERENCES members,
    PRIMARY KEY (invitation, member)
);
CREATE TABLE tls_keys (
    id TEXT PRIMARY KEY, member TEXT NOT NULL REFERENCES members, expires_s INTEGER NOT NULL
);
"""


def create_book_file(path: Path, run: str, authority: str) -> None:
    """A new book without members, there whole or not at all.

    Args:
        path: where it is to be.
        run: the run's name.
        authority: fingerprint of the run's authority.

    Raises:
        IdentityError: SW-T212; there is one already.
        StorageError: SW-S101; there is none now.
    """
    partial = path.with_name(path.name + PARTIAL)
    with storing(path):
        if path.exists():
            raise unusable_book(path, "a folder without a book", "there is one; nothing is ever overwritten")
        partial.unlink(missing_ok=True)
    write_private(partial, b"", unusable_book)
    with storing(path), sqlite_as_os(), closing(_connect(partial)) as connection:
        connection.executescript(f"BEGIN; PRAGMA application_id = {_MARK}; {_SCHEMA} COMMIT;")
        connection.execute("INSERT INTO run VALUES (?, ?, '[]')", (run, authority))
    with storing(path):
        partial.replace(path)
        flush_to_disk(path.parent)


def check_book_file(path: Path) -> None:
    """Whether there is a book that can be used.

    Raises:
        IdentityError: SW-T212; there is none, or others may read it, or it is something else.
    """
    try:
        check_private(path, _FORM, unusable_book)
    except OSError as error:
        raise unusable_book(path, _FORM, error.strerror or str(error)) from error
    with reading(path) as connection:
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
    if mark != _MARK:
        raise unusable_book(path, _FORM, "a database of something else")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to look things up with.

    Raises:
        IdentityError: SW-T212; it cannot be read.
    """
    try:
        with closing(_connect(path)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise unusable_book(path, _FORM, str(error)) from error


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection inside a transaction: no other process reads or writes what this one decides on until it ends.

    Raises:
        IdentityError: SW-T212; it cannot be read.
        StorageError: SW-S101; nothing was written.
    """
    try:
        with storing(path), sqlite_as_os(), closing(_connect(path)) as connection, transaction(connection, path):
            yield connection
    except sqlite3.Error as error:
        raise unusable_book(path, _FORM, str(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.resolve()))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_S)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def unusable_book(path: Path, expected: str, got: str) -> IdentityError:
    """A book of members that cannot be used."""
    return IdentityError(
        "SW-T212",
        "this book of members cannot be used",
        where=str(path),
        expected=expected,
        got=got,
        remedy="give the folder of a run that was started with --listen; chmod 600 the file if others may read it",
    )
