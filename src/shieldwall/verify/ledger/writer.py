"""Writing the ledger: rows wait until their step commits, then all of them are on the disk at once, or none.

The file is in SQLite's rollback mode with full synchronization: when a transaction returns it is on the disk, and after
a kill at any moment the file holds the last whole one. A closed ledger is one file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shieldwall.core.databases import sqlite_as_os, transaction
from shieldwall.core.errors import LedgerFileError
from shieldwall.core.files import PARTIAL, flush_to_disk, storing
from shieldwall.core.signing import Identity, Signed, Statement
from shieldwall.core.statements import Header
from shieldwall.verify.ledger.parsing import CORRECTION, KINDS, filed_under
from shieldwall.verify.ledger.records import ClosingRecord, CommitRecord, ResumeRecord, RunRecord, ViewRecord
from shieldwall.verify.ledger.rows import APPLICATION_ID, GENESIS, LEDGER_FILE, SCHEMA, Row, chained
from shieldwall.verify.ledger.tail import Tail, read_tail

_BUSY_S = 60.0
"""How long a transaction waits for somebody who reads."""


class LedgerWriter:
    """The one writer of a run's ledger. Made by `create` or `reopen`.

    Statements are taken as they are: whoever appends one has seen that its signature holds.

    Args:
        path: of the file.
        identity: the initiator, with the run's key.
        tail: where the ledger stands.
    """

    def __init__(self, path: Path, identity: Identity, tail: Tail) -> None:
        self.path = path
        self._identity = identity
        self._run = tail.run
        self._head = tail.head
        self._count = tail.rows
        self._step = tail.step
        self._pending: list[Row] = []
        self._connection = _connect(path)

    @classmethod
    def create(cls, folder: Path, identity: Identity, record: RunRecord) -> LedgerWriter:
        """A new ledger in the run's folder, with its first row on the disk.

        Raises:
            LedgerFileError: SW-L202; there is one already.
            StorageError: SW-S101; there is none now.
        """
        path = folder / LEDGER_FILE
        if path.exists():
            raise _cannot_go_on(path, "a run's folder without a ledger", "there is one; nothing is ever overwritten")
        partial = path.with_name(path.name + PARTIAL)
        partial.unlink(missing_ok=True)
        writer = cls(partial, identity, Tail(run=record.run, rows=0, head=GENESIS, step=0, view=-1, attempt=-1))
        with storing(path), sqlite_as_os():
            writer._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            writer._connection.execute(SCHEMA)
        writer.append(identity.sign(record))
        writer.release()
        with storing(path):
            partial.replace(path)
            flush_to_disk(folder)
        return cls.reopen(folder, identity)

    @classmethod
    def reopen(cls, folder: Path, identity: Identity) -> LedgerWriter:
        """The ledger of a run that goes on; its last step's rows are checked first.

        Raises:
            LedgerFileError: SW-L201, there is none; SW-L202, it is closed or was begun with another key.
            LedgerError: SW-L101 to SW-L107; its end is not what was written.
        """
        tail = read_tail(folder, identity)
        path = folder / LEDGER_FILE
        if tail.closed:
            raise _cannot_go_on(path, "a ledger without a closing row", "the run is finished and its ledger closed")
        return cls(path, identity, tail)

    @property
    def head(self) -> str:
        """Hash of the last row on the disk."""
        return self._head

    @property
    def rows(self) -> int:
        """How many rows are on the disk."""
        return self._count

    @property
    def step(self) -> int:
        """The step that is committed next."""
        return self._step

    def append(self, signed: Signed[Any], kind: str = "") -> None:
        """Keep a signed statement for the next transaction.

        Args:
            signed: a statement of any party.
            kind: of the row, where it is not the statement's own.
        """
        statement = signed.statement
        kind = kind or statement.kind
        if kind not in KINDS:
            raise ValueError(f"the ledger has no rows of kind {kind!r}")
        seq = self._count + len(self._pending)
        step = filed_under(statement, self._run, self._step)
        row = Row(seq, step, kind, signed.signer, signed.content.decode(), signed.signature.hex())
        self._pending.append(chained(row, self._pending_head))

    def record(self, statement: Statement) -> None:
        """The same for a statement of the initiator's own: a view, a verdict."""
        self.append(self._identity.sign(statement))

    def record_view(self, record: ViewRecord) -> None:
        """Who holds and checks what from here on."""
        self.record(record)

    def correct(self, header: Signed[Header]) -> None:
        """A header of the initiator that stands in the place of the one of the slot's maker."""
        self.append(header, CORRECTION)

    def resume(
        self,
        step: int,
        attempt: int,
        keys: Mapping[str, bytes] | None = None,
        state_roots: Mapping[int, str] | None = None,
    ) -> None:
        """From here on the run goes on at `step`, with attempts from `attempt` on; later steps so far are replaced.

        Args:
            step: at most the next step.
            attempt: above every attempt so far, such as `Tail.attempt + 1`.
            keys: new keys (32 bytes) of parties that the ledger knows or does not know yet.
            state_roots: of the checked stages; needed for those that were the initiator's alone before.
        """
        if step > self._step:
            raise ValueError(f"a run at step {self._step} cannot go on from step {step}")
        self._step = step
        self.record(
            ResumeRecord(
                run=self._run, step=step, attempt=attempt, keys=dict(keys or {}), state_roots=dict(state_roots or {})
            )
        )

    def commit_step(
        self,
        *,
        attempt: int,
        micro_batches: int,
        state_roots: Mapping[int, str],
        clip_coefficients: Mapping[int, float],
        learning_rate: float,
        norm: float,
    ) -> str:
        """Write all that waits and the step's commit in one transaction.

        Returns:
            The new head, once it is on the disk; workers countersign it.

        Raises:
            StorageError: SW-S101; the ledger is as it was, and what waited still waits.
        """
        record = CommitRecord(
            run=self._run,
            step=self._step,
            attempt=attempt,
            micro_batches=micro_batches,
            state_roots=dict(state_roots),
            clip_coefficients=dict(clip_coefficients),
            learning_rate=learning_rate,
            norm=norm,
            head=self._pending_head,
        )
        self._record_and_write(record)
        self._step += 1
        return self._head

    def flush(self) -> None:
        """Write all that waits, without a commit: receipts at the end, or what is known of a step that is given up.

        Raises:
            StorageError: SW-S101; the ledger is as it was.
        """
        with transaction(self._connection, self.path):
            self._insert()
        self._written()

    def release(self) -> None:
        """Write all that waits and let go of the file. The ledger stays open: the run may go on.

        Raises:
            StorageError: SW-S101; the ledger is as it was.
        """
        self.flush()
        with storing(self.path), sqlite_as_os():
            self._connection.execute("PRAGMA journal_mode = DELETE")  # leaves no second file behind
        self._connection.close()

    def close(self) -> str:
        """Write all that waits and the closing row, and let go of the file. Nothing can follow.

        Returns:
            The head of the closed ledger.

        Raises:
            StorageError: SW-S101; the ledger is as it was.
        """
        rows = self._count + len(self._pending)
        record = ClosingRecord(run=self._run, rows=rows, steps=self._step, head=self._pending_head)
        self._record_and_write(record)
        self.release()
        return self._head

    @property
    def _pending_head(self) -> str:
        return self._pending[-1].hash if self._pending else self._head

    def _record_and_write(self, record: CommitRecord | ClosingRecord) -> None:
        waiting = len(self._pending)
        self.record(record)
        try:
            self.flush()
        except BaseException:
            del self._pending[waiting:]
            raise

    def _insert(self) -> None:
        self._connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._stored())

    def _stored(self) -> Iterator[tuple[int | str, ...]]:
        return (row.stored for row in self._pending)

    def _written(self) -> None:
        self._head = self._pending_head
        self._count += len(self._pending)
        self._pending = []


def _connect(path: Path) -> sqlite3.Connection:
    with storing(path), sqlite_as_os():
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def _cannot_go_on(path: Path, expected: str, got: str) -> LedgerFileError:
    return LedgerFileError(
        "SW-L202",
        "this ledger cannot be written",
        where=str(path),
        expected=expected,
        got=got,
        remedy="start a new run with another --run DIR; a finished run's ledger stays as it is",
    )
