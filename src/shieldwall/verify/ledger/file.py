"""The ledger's file, read: it must be a SQLite file that holds one table of the known form, and nothing else.

Rows are read in batches, so that whoever reads a running run's ledger never keeps its writer waiting; rows that are
there never change.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shieldwall.core.errors import LedgerError, LedgerFileError
from shieldwall.verify.ledger.rows import APPLICATION_ID, COLUMNS, LEDGER_FILE, SCHEMA, Row

_BATCH = 500
_LONGEST_BYTES = 64 * 2**20
"""No field is longer; SQLite refuses it before memory is taken."""

_LOWEST = -(2**63)
"""No row number is lower; rows before the first one are rows that somebody added."""

_HEAD_BYTES = 100
_LARGEST_PAGE_BYTES = 65536
"""Stands as 1 in the two bytes of the file's head."""

_GET_IT_AGAIN = (
    "copy the file again from where the run was trained; if it is no better there, do not rely on this record"
)


class LedgerFile:
    """An open ledger, to be read.

    Args:
        path: of the file.
        connection: to it; read only.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def rows(self, first: int = 0) -> Iterator[Row]:
        """All rows in their order, from number `first` on; from 0 means all that there are, a row -1 among them.

        Raises:
            LedgerError: SW-L101, the file is damaged; SW-L102, a field is not of its column's type.
        """
        expected, batch = first, [None]
        while batch:
            batch = self._batch(expected or _LOWEST)
            for values in batch:
                row = self._row(expected, values)
                expected = row.seq + 1
                yield row

    def last_of(self, kind: str) -> Row | None:
        """The last row of a kind, if there is one.

        Raises:
            LedgerError: SW-L101 or SW-L102, as `rows`.
        """
        query = f"SELECT {COLUMNS} FROM rows WHERE kind = ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 (fixed text)
        values = self._ask(query, kind)
        return self._row(None, values[0]) if values else None

    def all_of(self, kind: str) -> Iterator[Row]:
        """All rows of a kind, in their order.

        Raises:
            LedgerError: SW-L101 or SW-L102, as `rows`.
        """
        query = f"SELECT {COLUMNS} FROM rows WHERE kind = ? ORDER BY seq"  # noqa: S608 (fixed text)
        return (self._row(None, values) for values in self._ask(query, kind))

    def check_length(self) -> None:
        """Whether the file is as long as its first page says; more may be there while somebody writes.

        Raises:
            LedgerError: SW-L101; it was cut short.
        """
        says, size_bytes = self._says_bytes(), self.path.stat().st_size
        if says > size_bytes:
            raise self._damaged(f"it is cut short: {size_bytes:,} bytes, its first page says {says:,}")

    def check_form(self) -> None:
        """Whether the file holds the ledger's table and nothing else.

        Raises:
            LedgerError: SW-L101, the file is damaged; SW-L102, there is more, less or something else in it.
        """
        mark = self._ask("PRAGMA application_id")[0][0]
        found = self._ask("SELECT type, name, sql FROM sqlite_master")
        if mark == APPLICATION_ID and found == [("table", "rows", SCHEMA)]:
            return
        names = ", ".join(f"{kind} {name}" for kind, name, _ in found) or "nothing"
        raise LedgerError(
            "SW-L102",
            "the file is not in the ledger's form",
            where=str(self.path),
            expected="one table `rows` with the columns that every ledger has, and the ledger's mark",
            got=f"{names}; mark {mark:#x}",
            remedy=_GET_IT_AGAIN,
        )

    def check_pages(self) -> None:
        """Whether the file's inner order is whole and it is as long as it says; reads all of it.

        Raises:
            LedgerError: SW-L101.
        """
        found = self._ask("PRAGMA quick_check(1)")
        if found != [("ok",)]:
            raise self._damaged(str(found[0][0]))
        says, size_bytes = self._says_bytes(), self.path.stat().st_size
        if says != size_bytes:
            raise self._damaged(f"{size_bytes:,} bytes; its first page says {says:,}")

    def _says_bytes(self) -> int:
        """Page size times number of pages, as the first page says it.

        Source: sqlite.org/fileformat.html, section 1.3; read here because SQLite calls a short file only malformed.
        """
        with self.path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES or not head.startswith(b"SQLite format 3\0"):
            raise self._damaged("it does not begin as a SQLite file does")
        page_bytes, pages = struct.unpack_from(">H", head, 16)[0], struct.unpack_from(">I", head, 28)[0]
        return int((_LARGEST_PAGE_BYTES if page_bytes == 1 else page_bytes) * pages)

    def _batch(self, first: int) -> list[Any]:
        """Rows from `first` on; where one cannot be read, those before it, so that the error names the right row.

        Python's cursor steps to the next row before it hands out one, and loses it if there is an error; so the one
        before a row that cannot be read is asked for alone.
        """
        query = f"SELECT {COLUMNS} FROM rows WHERE seq >= ? ORDER BY seq LIMIT {_BATCH}"  # noqa: S608 (fixed text)
        batch: list[Any] = []
        cursor = self._connection.cursor()
        try:
            cursor.execute(query, (first,))
            batch.extend(cursor)  # keeps what came before an error
        except sqlite3.Error as error:
            if not batch:
                batch = self._alone(first, error)
        finally:
            cursor.close()
        return batch

    def _alone(self, first: int, why: sqlite3.Error) -> list[Any]:
        query = f"SELECT {COLUMNS} FROM rows WHERE seq >= ? ORDER BY seq LIMIT 1"  # noqa: S608 (fixed text)
        try:
            found = self._connection.execute(query, (first,)).fetchall()
        except sqlite3.Error as error:
            raise self._damaged(str(error), max(first, 0)) from error
        if not found:
            raise self._damaged(str(why), max(first, 0)) from why
        return found

    def _ask(self, query: str, *values: str) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def _row(self, expected: int | None, values: Any) -> Row:
        kinds = (int, int, str, str, str, str, str, str)
        if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
            seq = values[0] if expected is None else expected
            raise LedgerError(
                "SW-L102",
                "a field is not of its column's type",
                row=seq,
                where=f"{self.path}, row {seq}",
                expected="whole numbers for seq and step, text for the others",
                got=", ".join(type(value).__name__ for value in values),
                remedy=_GET_IT_AGAIN,
            )
        return Row(*values)

    def _damaged(self, got: str, row: int | None = None) -> LedgerError:
        return LedgerError(
            "SW-L101",
            f"{self.path.name} cannot be read",
            row=row,
            where=str(self.path) if row is None else f"{self.path}, row {row}",
            expected="a whole SQLite file",
            got=got,
            remedy=_GET_IT_AGAIN,
        )


@contextmanager
def open_ledger(path: Path) -> Iterator[LedgerFile]:
    """The ledger in a run's folder, or the file itself, to be read; it is never changed.

    One thing may be put in order first: where a writer was killed in the middle of a transaction, SQLite takes back
    what was not whole.

    Args:
        path: the run's folder, or `ledger.sqlite` itself.

    Raises:
        LedgerFileError: SW-L201, there is no ledger.
        LedgerError: SW-L101, the file cannot be read; SW-L102, it is not in the ledger's form.
    """
    file = ledger_path(path)
    connection = _connect(file, "ro")
    try:
        if _needs_rollback(connection):
            connection.close()
            connection = _connect(file, "rw")
            _take_back(connection)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_BYTES)
        ledger = LedgerFile(file, connection)
        ledger.check_length()
        ledger.check_form()
        yield ledger
    finally:
        connection.close()


def ledger_path(path: Path) -> Path:
    """The ledger's file, given itself or the run's folder.

    Raises:
        LedgerFileError: SW-L201; there is none.
    """
    file = path / LEDGER_FILE if path.is_dir() else path
    if not file.is_file():
        raise LedgerFileError(
            "SW-L201",
            "there is no ledger",
            where=str(path),
            expected=f"the folder of a run with {LEDGER_FILE} in it, or that file",
            got=_what_is_there(path),
            remedy="give the folder of a run that keeps a ledger, such as runs/NAME",
        )
    return file


def _what_is_there(path: Path) -> str:
    if path.is_dir() and not (path / LEDGER_FILE).exists():
        return f"a folder without {LEDGER_FILE}"
    return "something that is no plain file" if path.exists() else "no such file"


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode={mode}", uri=True, timeout=60)
    except sqlite3.Error as error:
        raise LedgerError(
            "SW-L101",
            f"{file.name} cannot be read",
            where=str(file),
            expected="a whole SQLite file and the right to read it",
            got=str(error),
            remedy=_GET_IT_AGAIN,
        ) from error
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _take_back(connection: sqlite3.Connection) -> None:
    """Let SQLite take back what was cut off, which it does when it is first asked; until then the file may look short.

    Where it cannot, the next question says why.
    """
    with suppress(sqlite3.DatabaseError):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _needs_rollback(connection: sqlite3.Connection) -> bool:
    """Whether a transaction was cut off that a reader without the right to write cannot take back."""
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_CANTOPEN)
    except sqlite3.DatabaseError:
        return False  # no SQLite file at all: the next question finds out and says so
    return False
