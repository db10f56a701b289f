"""A ledger for people, step by step. Nothing is verified here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shieldwall.core.signing import fingerprint
from shieldwall.core.statements import Alert, Header, Receipt, Settlement
from shieldwall.core.verdicts import Verdict
from shieldwall.verify.ledger.chain import read_statement
from shieldwall.verify.ledger.file import open_ledger
from shieldwall.verify.ledger.parsing import CORRECTION
from shieldwall.verify.ledger.records import ClosingRecord, CommitRecord, ResumeRecord, RunRecord
from shieldwall.verify.ledger.rows import Row

NOT_VERIFIED = "shown as it is stored; shieldwall ledger verify checks it"

_COUNTED = {
    Header.kind: "tensors",
    Settlement.kind: "settlements",
    Alert.kind: "alerts",
    Verdict.kind: "verdicts",
    CORRECTION: "corrections",
    Receipt.kind: "receipts",
}


@dataclass(slots=True, kw_only=True)
class StepSummary:
    """What a ledger holds of one step."""

    step: int
    counts: Counter[str] = field(default_factory=Counter)
    """Rows by what they are."""
    commit: CommitRecord | None = None
    """None where the step is not committed."""
    replaced: bool = False
    """Whether the step was done again after a resumption."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        commit = self.commit
        return {
            "step": self.step,
            "committed": commit is not None,
            "replaced": self.replaced,
            "attempt": commit.attempt if commit else None,
            "micro_batches": commit.micro_batches if commit else None,
            **{name: self.counts[name] for name in _COUNTED.values()},
            "learning_rate": commit.learning_rate if commit else None,
            "norm": commit.norm if commit else None,
            "clip_coefficients": {str(stage): each for stage, each in commit.clip_coefficients.items()}
            if commit
            else {},
            "state_roots": {str(stage): root for stage, root in commit.state_roots.items()} if commit else {},
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {self.counts[name]}" for name in _COUNTED.values() if self.counts[name])
        if self.commit is None:
            end = "not committed"
        else:
            end = f"learning rate {self.commit.learning_rate:.3g}, norm {self.commit.norm:.4g}"
            end += f", {self.commit.micro_batches} micro-batches"
        note = "  (done again later)" if self.replaced else ""
        return f"step {self.step:<5} {end}; {counts or 'nothing was signed'}{note}"


@dataclass(slots=True, kw_only=True)
class LedgerSummary:
    """What a ledger holds, step by step."""

    run: str
    run_key: str
    """Fingerprint of the run's key, by the ledger's own word."""
    rows: int
    closed: bool
    steps: list[StepSummary]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "run": self.run,
            "run_key": self.run_key,
            "rows": self.rows,
            "closed": self.closed,
            "steps": [step.to_json() for step in self.steps],
        }

    def __str__(self) -> str:
        head = f"run {self.run}, {self.rows:,} rows, {'closed' if self.closed else 'not closed'}"
        lines = [head, f"run key {self.run_key} (by the ledger's own word)", *map(str, self.steps), NOT_VERIFIED]
        return "\n".join(lines)


def summarize_ledger(path: Path) -> LedgerSummary:
    """What a ledger holds, step by step.

    Args:
        path: the run's folder, or the ledger itself.

    Raises:
        LedgerFileError: SW-L201; there is no ledger.
        LedgerError: SW-L101, SW-L102 or SW-L107; it cannot be read.
    """
    summary = LedgerSummary(run="", run_key="", rows=0, closed=False, steps=[])
    current: dict[int, StepSummary] = {}
    with open_ledger(path) as ledger:
        for row in ledger.rows():
            summary.rows += 1
            _count(summary, current, row)
    return summary


def _count(summary: LedgerSummary, current: dict[int, StepSummary], row: Row) -> None:
    """Take one row; `current` are the steps that nothing has replaced."""
    if row.kind == RunRecord.kind:
        record = read_statement(row)
        summary.run, summary.run_key = record.run, fingerprint(record.run_key)
    elif row.kind == ClosingRecord.kind:
        summary.closed = True
    elif row.kind == ResumeRecord.kind:
        for number in [number for number in current if number >= row.step]:
            current.pop(number).replaced = True
    elif row.kind in _COUNTED or row.kind == CommitRecord.kind:
        if row.step not in current:
            current[row.step] = StepSummary(step=row.step)
            summary.steps.append(current[row.step])
        step = current[row.step]
        if row.kind == CommitRecord.kind:
            step.commit = read_statement(row)
        else:
            step.counts[_COUNTED[row.kind]] += 1
