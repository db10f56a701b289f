"""Where a ledger stands: what a run that goes on must know, from its first row and its last step alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shieldwall.core.errors import LedgerError, LedgerFileError
from shieldwall.core.signing import Identity, Roster, fingerprint
from shieldwall.core.statements import Header
from shieldwall.verify.ledger.chain import Chain, check_signature, out_of_place, read_statement
from shieldwall.verify.ledger.file import LedgerFile, open_ledger
from shieldwall.verify.ledger.records import ClosingRecord, CommitRecord, ResumeRecord, RunRecord, ViewRecord
from shieldwall.verify.ledger.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Where a ledger stands."""

    run: str
    rows: int
    head: str
    step: int
    """The step that is committed next."""
    view: int
    """The last view's number; -1 where there is none."""
    attempt: int
    """The highest attempt of any slot so far; -1 where there is none."""
    evidence_key: bytes = b""
    """Public key of the reviewers, as the first row has it; empty where no evidence is kept."""
    closed: bool = False


def read_tail(path: Path, identity: Identity) -> Tail:
    """Where the ledger of a run stands that `identity` has begun.

    Only the first row and the rows from the last commit on are checked; `verify_ledger` checks all.

    Args:
        path: the run's folder, or the ledger itself.
        identity: the initiator.

    Raises:
        LedgerFileError: SW-L201, there is none; SW-L202, it was begun with another key.
        LedgerError: SW-L101 to SW-L107; it is damaged, or its end is not what was written.
    """
    with open_ledger(path) as ledger:
        run = _run_record(ledger, identity)
        commit_row = ledger.last_of(CommitRecord.kind)
        first = commit_row.seq if commit_row else 0
        chain = Chain(first, commit_row.previous) if commit_row else Chain()
        step, attempt = 0, _highest_before(ledger)
        last: Row | None = None
        for row in ledger.rows(first):
            chain.follow(row)
            statement = read_statement(row)
            if isinstance(statement, CommitRecord):
                _check_commit(row, statement, Roster({row.signer: identity.public}))
                step = statement.step + 1
            elif isinstance(statement, ResumeRecord):
                step = statement.step
            elif isinstance(statement, Header) and row.signer == identity.name:
                attempt = max(attempt, statement.slot.attempt)
            last = row
        return Tail(
            run=run.run,
            rows=chain.rows,
            head=chain.head,
            step=step,
            view=_last_view(ledger),
            attempt=attempt,
            evidence_key=run.evidence_key,
            closed=last is not None and last.kind == ClosingRecord.kind,
        )


def check_chain(path: Path) -> None:
    """Follow the chain through all rows: a row in the middle that was changed, taken out or put in shows.

    Args:
        path: the run's folder, or the ledger itself.

    Raises:
        LedgerFileError: SW-L201; there is none.
        LedgerError: SW-L101 to SW-L103; the first row that is not what was written.
    """
    with open_ledger(path) as ledger:
        chain = Chain()
        for row in ledger.rows():
            chain.follow(row)


def _run_record(ledger: LedgerFile, identity: Identity) -> RunRecord:
    row = next(ledger.rows(), None)
    if row is None:
        raise LedgerError(
            "SW-L107",
            "the ledger has no rows",
            row=0,
            where=str(ledger.path),
            expected="a first row that says which run it is",
            got="no row",
            remedy="copy the file again from where the run was trained",
        )
    Chain().follow(row)
    record = read_statement(row)
    if not isinstance(record, RunRecord):
        raise out_of_place(row, "is not the first of a ledger", "a row of kind run", row.kind)
    check_signature(row, record, Roster({row.signer: record.run_key}))
    if record.run_key != identity.public:
        raise LedgerFileError(
            "SW-L202",
            "this ledger cannot be written",
            where=str(ledger.path),
            expected=f"the run's key {fingerprint(record.run_key)}",
            got=f"the key {fingerprint(identity.public)}",
            remedy="go on with the key that the run was started with",
        )
    return record


def _check_commit(row: Row, record: CommitRecord, roster: Roster) -> None:
    check_signature(row, record, roster)
    if record.head != row.previous:
        raise out_of_place(row, "names another head than the chain has", row.previous, record.head)


def _highest_before(ledger: LedgerFile) -> int:
    """The highest attempt up to the last commit: each commit names its step's, a resumption is above all before it."""
    attempts = [-1]
    for kind in (CommitRecord.kind, ResumeRecord.kind):
        attempts += [read_statement(row).attempt for row in ledger.all_of(kind)]
    return max(attempts)


def _last_view(ledger: LedgerFile) -> int:
    row = ledger.last_of(ViewRecord.kind)
    return read_statement(row).view if row else -1
