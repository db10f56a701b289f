"""One row of the ledger, its hash, and the table that it lies in.

A row's hash covers the hash of the row before it and every stored field, each behind its length, so no field can be
changed, and no row added, removed or moved, without another hash in every row that follows.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace

LEDGER_FILE = "ledger.sqlite"
"""Its name in the run's folder."""

APPLICATION_ID = 0x53574C31
"""`SWL1`: marks the file's kind in its first page, as `file` and SQLite's own tools show it."""

SCHEMA = (
    "CREATE TABLE rows (seq INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, signer TEXT NOT NULL, "
    "body TEXT NOT NULL, signature TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL)"
)
"""The only thing that the file may hold."""

COLUMNS = "seq, step, kind, signer, body, signature, previous, hash"

GENESIS = "0" * 64
"""What stands for the hash before the first row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is stored. Roots and signature are hexadecimal, the body is canonical JSON, rows count from 0."""

    seq: int
    step: int
    kind: str
    signer: str
    body: str
    signature: str
    previous: str = ""
    hash: str = ""

    def __str__(self) -> str:
        return f"row {self.seq} ({self.kind}, step {self.step})"

    @property
    def stored(self) -> tuple[int | str, ...]:
        """The fields in the order of the columns."""
        return self.seq, self.step, self.kind, self.signer, self.body, self.signature, self.previous, self.hash


def row_hash(row: Row) -> str:
    """SHA-256 over a tag, the hash before, all other fields as UTF-8 text, each behind its length (u32 big-endian)."""
    digest = hashlib.sha256(b"shieldwall/1|ledger|")
    for field in (row.previous, str(row.seq), str(row.step), row.kind, row.signer, row.body, row.signature):
        raw = field.encode()
        digest.update(struct.pack(">I", len(raw)) + raw)
    return digest.hexdigest()


def chained(row: Row, previous: str) -> Row:
    """`row` behind the row whose hash is `previous`."""
    behind = replace(row, previous=previous)
    return replace(behind, hash=row_hash(behind))
