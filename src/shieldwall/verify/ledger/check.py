"""Verifying a ledger offline: from the file alone, and the fingerprint of the run's key if the caller has it.

Row by row: the chain, the form, the signature, the place. Step by step, at each commit: the joins of all slots and the
agreement of all states. The first row that does not hold ends it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shieldwall.core.errors import LedgerError, LedgerFileError
from shieldwall.core.ids import Direction
from shieldwall.core.signing import Roster, fingerprint
from shieldwall.core.statements import Alert, Header, Receipt, Settlement
from shieldwall.core.verdicts import Verdict
from shieldwall.verify.ledger.chain import Chain, check_signature, out_of_place, read_statement
from shieldwall.verify.ledger.file import LedgerFile, open_ledger
from shieldwall.verify.ledger.joins import StepJoin
from shieldwall.verify.ledger.parsing import CORRECTION, INITIATOR_KINDS, filed_under, run_of, step_of
from shieldwall.verify.ledger.records import ClosingRecord, CommitRecord, ResumeRecord, RunRecord, ViewRecord
from shieldwall.verify.ledger.report import LedgerReport
from shieldwall.verify.ledger.rows import Row
from shieldwall.verify.ledger.states import StateJoin
from shieldwall.verify.ledger.step_book import Assignments, Said, StepBook

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def verify_ledger(path: Path, run_key_fingerprint: str | None = None, *, allow_open: bool = False) -> LedgerReport:
    """Check all that a ledger says of itself.

    Args:
        path: the run's folder, or the ledger itself.
        run_key_fingerprint: `fingerprint` of the run's public key, as it was shown when the run started. Without it the
            ledger's own key is taken, and the report says so: a ledger that somebody else has made up would hold too.
        allow_open: accept a ledger without a closing row, as that of a run that still goes on.

    Raises:
        LedgerFileError: SW-L201, there is no ledger; SW-L206, that is no fingerprint.
        LedgerError: it does not hold. SW-L101, the file is damaged; SW-L102, it has another form; SW-L103, the chain is
            broken; SW-L104, a signature does not hold; SW-L105, the run's key is another; SW-L106, it is not closed;
            SW-L107, a row is where none like it can be; SW-L108, a step does not join; SW-L109, states do not agree.
    """
    if run_key_fingerprint is not None and not _FINGERPRINT.fullmatch(_plain(run_key_fingerprint)):
        raise LedgerFileError(
            "SW-L206",
            "that is no fingerprint of a run's key",
            where="--run-key",
            expected="64 hexadecimal digits, as the run showed them at its start",
            got=repr(run_key_fingerprint[:80]),
            remedy="copy the line `run key ...` of the run; leave --run-key out to take the ledger's own word for it",
        )
    with open_ledger(path) as ledger:
        chain = Chain()
        walk: _Walk | None = None
        for row in ledger.rows():
            chain.follow(row)
            if walk is None:
                walk = _begin(row, run_key_fingerprint)
            else:
                walk.take(row)
        if walk is None:
            raise _not_closed(ledger, 0)
        walk.count_receipts()
        if not walk.report.closed and not allow_open:
            raise _not_closed(ledger, chain.rows)
        if walk.report.closed:
            ledger.check_pages()
        return walk.report


def _begin(row: Row, run_key_fingerprint: str | None) -> _Walk:
    """Read the first row, whose key everything else hangs from."""
    record = read_statement(row)
    if not isinstance(record, RunRecord):
        raise out_of_place(row, "is not the first of a ledger", "a row of kind run", row.kind)
    found = fingerprint(record.run_key)
    if run_key_fingerprint is not None and _plain(run_key_fingerprint) != found:
        raise LedgerError(
            "SW-L105",
            "this is not the ledger of the run with that key",
            row=row.seq,
            where=str(row),
            expected=run_key_fingerprint,
            got=found,
            remedy="compare with the fingerprint shown at the start of the run; if it is right, this is another ledger",
        )
    check_signature(row, record, Roster({row.signer: record.run_key}))
    if record.keys.get(row.signer) != record.run_key or row.step != 0:
        raise out_of_place(
            row, "does not begin a run", f"step 0, and {row.signer}'s key is the run's", f"step {row.step}"
        )
    return _Walk(record, row.signer, key_given=run_key_fingerprint is not None)


class _Walk:
    """Takes one row after the other.

    Args:
        record: what the first row says.
        initiator: who signed it.
        key_given: whether the caller knew the key.
    """

    def __init__(self, record: RunRecord, initiator: str, *, key_given: bool) -> None:
        self.report = LedgerReport(
            run=record.run,
            run_key=fingerprint(record.run_key),
            key_given=key_given,
            config_root=record.config_root,
            evidence_key=record.evidence_key.hex(),
            rows=1,
        )
        self._run_key = record.run_key
        self._initiator = initiator
        self._keys = dict(record.keys)
        self._roster = Roster(self._keys)
        self._views: dict[int, ViewRecord] = {}
        self._view: ViewRecord | None = None
        self._states: list[Mapping[int, str]] = [record.state_roots]
        """Before each step, the last one before the step in work."""
        self._heads: dict[int, set[str]] = {}
        self._alone: dict[int, str] = {}
        """Steps in force that no worker has countersigned yet, and their heads."""
        self._book = StepBook()
        self._first_attempt = 0
        self._highest_attempt = -1
        self._counts: Counter[str] = Counter()

    @property
    def _step(self) -> int:
        """The step in work."""
        return len(self._states) - 1

    def take(self, row: Row) -> None:
        """Check the next row, which the chain has accepted."""
        statement = read_statement(row)
        check_signature(row, statement, self._roster)
        self._check_place(row, statement)
        self.report.rows += 1
        self.report.rows_after_commit += 1
        if isinstance(statement, ViewRecord):
            self._take_view(row, statement)
        elif isinstance(statement, CommitRecord):
            self._take_commit(row, statement)
        elif isinstance(statement, ResumeRecord):
            self._take_resume(row, statement)
        elif isinstance(statement, ClosingRecord):
            self._take_closing(row, statement)
        elif isinstance(statement, Receipt):
            self._take_receipt(row, statement)
        else:
            self._take_work(row, statement)

    def _check_place(self, row: Row, statement: Any) -> None:
        if self.report.closed:
            raise out_of_place(row, "stands behind the closing row", "no row", row.kind)
        if row.kind == RunRecord.kind:
            raise out_of_place(row, "begins a run a second time", "any other kind", row.kind)
        if row.kind in INITIATOR_KINDS:
            self._check_own(row, statement)
        step = filed_under(statement, self.report.run, self._step)
        if row.step != step:
            raise out_of_place(row, "is stored under another step than its own", f"step {step}", f"step {row.step}")

    def _check_own(self, row: Row, statement: Any) -> None:
        """A row that only the initiator may write, and it writes no nonsense."""
        named = step_of(statement)
        if row.signer != self._initiator:
            raise out_of_place(row, "is not for its signer to write", self._initiator, row.signer)
        if run_of(statement) != self.report.run:
            raise out_of_place(row, "is of another run", self.report.run, run_of(statement))
        if named is not None and named > self._step:
            raise out_of_place(row, "speaks of a step that has not come", f"at most step {self._step}", f"step {named}")

    def _take_view(self, row: Row, view: ViewRecord) -> None:
        if self._view is not None and view.view <= self._view.view:
            raise out_of_place(row, "is no later view", f"a number above {self._view.view}", f"{view.view}")
        if sorted(view.holders) != list(range(len(view.holders))) or not set(view.checkers) <= set(view.holders):
            raise out_of_place(row, "leaves a stage without a host", "one for each stage", f"{sorted(view.holders)}")
        for stage, checker in view.checkers.items():
            if view.holders[stage] == checker:
                raise out_of_place(row, f"lets {checker} check itself on stage {stage}", "two hosts", "one")
        for name, key in view.keys.items():
            if self._keys.get(name, key) != key:
                raise out_of_place(row, f"gives {name} another key", self._keys[name].hex(), key.hex())
        self._admit(row, view.keys)
        strangers = {*view.holders.values(), *view.checkers.values()} - set(self._keys)
        if strangers:
            raise out_of_place(row, "names a host without a key", "a key for each", ", ".join(sorted(strangers)))
        self._take_states(row, view)
        self._view = view
        self._views[view.view] = view

    def _take_states(self, row: Row, view: ViewRecord) -> None:
        """States that the initiator gives out were its own alone before; it cannot replace one that others signed."""
        before = self._view.checkers if self._view else {}
        for stage, root in view.state_roots.items():
            known = self._states[-1].get(stage) if stage in before else None
            if stage not in view.checkers or known not in (None, root):
                raise out_of_place(row, f"gives stage {stage} another state", str(known), root)
        self._states[-1] = {**self._states[-1], **view.state_roots}

    def _admit(self, row: Row, keys: Mapping[str, bytes]) -> None:
        self._keys.update(keys)
        if self._keys[self._initiator] != self._run_key:
            raise out_of_place(row, "gives the initiator another key", "the run's key", "another")
        self._roster = Roster(self._keys)

    def _take_commit(self, row: Row, record: CommitRecord) -> None:
        if record.step != self._step:
            raise out_of_place(row, "commits a step out of order", f"step {self._step}", f"step {record.step}")
        if record.head != row.previous:
            raise out_of_place(row, "names another head than the chain has", row.previous, record.head)
        if self._view is None:
            raise out_of_place(row, "commits a step that nobody was assigned to", "a view before it", "none")
        who = Assignments(initiator=self._initiator, views=self._views, current=self._view)
        commit = Said(row, record)
        StepJoin(self._book, who, self._states[-1], commit).check()
        StateJoin(self._book, who, self._states[-1], commit).check()
        self._heads.setdefault(record.step, set()).add(row.hash)
        if set(self._view.holders.values()) != {self._initiator}:
            self._alone[record.step] = row.hash
        self._states.append(record.state_roots)
        self._highest_attempt = max(self._highest_attempt, record.attempt)
        self._begin_step()
        self.report.steps = self._step
        self.report.rows_after_commit = 0

    def _begin_step(self) -> None:
        self._book = StepBook()

    def _take_resume(self, row: Row, record: ResumeRecord) -> None:
        if record.attempt <= self._highest_attempt:
            raise out_of_place(
                row, "uses attempts again", f"attempts from {self._highest_attempt + 1} on", f"from {record.attempt} on"
            )
        self._admit(row, record.keys)
        self.report.replaced_steps += self._step - record.step
        del self._states[record.step + 1 :]
        self._states[-1] = {**record.state_roots, **self._states[-1]}
        self._alone = {step: head for step, head in self._alone.items() if step < record.step}
        self._first_attempt = self._highest_attempt = record.attempt
        self._begin_step()
        self.report.steps = self._step

    def _take_closing(self, row: Row, record: ClosingRecord) -> None:
        found = ClosingRecord(run=self.report.run, rows=row.seq, steps=self._step, head=row.previous)
        if record != found:
            raise out_of_place(row, "does not close this ledger", str(found), str(record))
        self.report.closed = True
        self.report.rows_after_commit = 0

    def _take_receipt(self, row: Row, receipt: Receipt) -> None:
        if receipt.run == self.report.run and receipt.head in self._heads.get(receipt.step, ()):
            self.report.receipts += 1
            if self._alone.get(receipt.step) == receipt.head:
                del self._alone[receipt.step]
            return
        # A worker must not be able to spoil an honest ledger by what it signs; a reader must know of it all the same.
        self.report.disputes.append(
            f"{row}: {row.signer} countersigned a ledger with another head at step {receipt.step}: {receipt.head}"
        )

    def _take_work(self, row: Row, statement: Any) -> None:
        """A statement about the work of a step.

        What comes after its step's commit or is from an older attempt is too late to count; what speaks of another run,
        or of a step or view that has not come, never does.
        """
        self._count(row, statement)
        about = getattr(statement, "slot", None) or getattr(statement, "holding", statement)
        attempt = getattr(about, "attempt", self._first_attempt)
        if row.signer == self._initiator:
            self._highest_attempt = max(self._highest_attempt, attempt)
        fits = about.run == self.report.run and about.step == self._step and about.view in self._views
        if fits and attempt >= self._first_attempt:
            self._book.add(row, statement)

    def count_receipts(self) -> None:
        """All rows are taken: say how many steps nobody countersigned; the last one's receipts may yet come."""
        last = -1 if self.report.closed else self._step - 1
        self.report.steps_not_countersigned = sum(step != last for step in self._alone)

    def _count(self, row: Row, statement: Any) -> None:
        if isinstance(statement, Header) and statement.slot.direction is not Direction.EVALUATION:
            self.report.slots += 1
        if row.kind == CORRECTION:
            self.report.corrections += 1
        elif isinstance(statement, Settlement):
            self.report.settlements += 1
        elif isinstance(statement, Alert):
            self.report.alerts += 1
        elif isinstance(statement, Verdict):
            self.report.verdicts.append(statement)


def _not_closed(ledger: LedgerFile, rows: int) -> LedgerError:
    return LedgerError(
        "SW-L106",
        "not closed: rows may be missing from its end",
        row=rows,
        where=f"{ledger.path}, row {rows}: the first that is missing",
        expected="a closing row, signed by the run's key, as the last one",
        got=f"{rows:,} rows without it",
        remedy="if the run is finished, get the whole file from where it was trained; if it goes on, wait for its end",
    )


def _plain(text: str) -> str:
    """A fingerprint as people write it, with blanks, colons or capitals."""
    return text.replace(":", "").replace(" ", "").strip().lower()
