"""Ledger files as those see them who would change them: plain SQL, and the hashes anyone can compute."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from make_believe import EVENTFUL, QUIET, Story, Teller

from shieldwall.core.signing import fingerprint
from shieldwall.verify.ledger.rows import COLUMNS, GENESIS, Row, chained

STORIES = {
    "quiet": QUIET,
    "eventful": EVENTFUL,
    "small": Story(stages=3, micro_batches=1, steps=1),
    "one step": Story(stages=5, micro_batches=1, steps=1, again=frozenset({(0, 0)})),
}


@cache
def told(name: str) -> tuple[bytes, str]:
    """The bytes of a story's ledger, and the fingerprint of its run's key."""
    with tempfile.TemporaryDirectory() as folder:
        teller = Teller(Path(folder), STORIES[name])
        return teller.tell().read_bytes(), fingerprint(teller.initiator.public)


@cache
def rows_of(name: str) -> tuple[Row, ...]:
    with copy_of(name) as path:
        return read_rows(path)


@contextmanager
def copy_of(name: str) -> Iterator[Path]:
    """A story's ledger in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        path.write_bytes(told(name)[0])
        yield path


def read_rows(path: Path) -> tuple[Row, ...]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(f"SELECT {COLUMNS} FROM rows ORDER BY seq")  # noqa: S608 (ours)
        return tuple(Row(*values) for values in found)


def run_sql(path: Path, *commands: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for command, values in commands:
            connection.execute(command, values)


def store(path: Path, rows: Sequence[Row]) -> None:
    """Put these rows in the place of all."""
    put = ("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [row.stored for row in rows])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM rows")
        connection.executemany(*put)


def chained_anew(rows: Sequence[Row]) -> list[Row]:
    """The rows with the numbers and hashes that fit their order, as anyone can compute them."""
    found: list[Row] = []
    head = GENESIS
    for seq, row in enumerate(rows):
        found.append(chained(Row(seq, row.step, row.kind, row.signer, row.body, row.signature), head))
        head = found[-1].hash
    return found
