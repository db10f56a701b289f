"""Ledgers as somebody would write them who has the run's key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from shieldwall.core.ids import INITIATOR
from shieldwall.core.signing import Identity
from shieldwall.core.verdicts import Verdict
from shieldwall.verify.ledger import ClosingRecord, CommitRecord
from shieldwall.verify.ledger.chain import read_statement
from shieldwall.verify.ledger.keys import read_run_key
from shieldwall.verify.ledger.rows import COLUMNS, GENESIS, Row, chained


def sign_again(folder: Path, change: Callable[[Verdict], Verdict], *, without: str = "") -> None:
    """Put other verdicts into a run's ledger: signed with its key, in a chain that holds.

    `without` names a kind of rows that is left out.
    """
    me = Identity(INITIATOR, read_run_key(folder / "private" / "run.key"))
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        old = [Row(*values) for values in connection.execute(f"SELECT {COLUMNS} FROM rows ORDER BY seq")]  # noqa: S608
        head = GENESIS
        rows: list[Row] = []
        for row in old:
            if row.kind == without:
                continue
            statement = read_statement(row)
            if isinstance(statement, Verdict):
                statement = change(statement)
            if isinstance(statement, CommitRecord | ClosingRecord):
                statement = replace(statement, head=head)
            if isinstance(statement, ClosingRecord):
                statement = replace(statement, rows=len(rows))
            signed = me.sign(statement) if row.kind in ("verdict", "commit", "closing") else None
            body = signed.content.decode() if signed else row.body
            signature = signed.signature.hex() if signed else row.signature
            rows.append(chained(Row(len(rows), row.step, row.kind, row.signer, body, signature), head))
            head = rows[-1].hash
        connection.execute("DELETE FROM rows")
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [row.stored for row in rows])
        connection.commit()
