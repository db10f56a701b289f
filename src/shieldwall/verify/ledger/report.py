"""What a verified ledger tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from shieldwall.core.verdicts import Verdict


@dataclass(slots=True, kw_only=True)
class LedgerReport:
    """A ledger that holds, and what it rests on."""

    run: str
    run_key: str
    """Fingerprint of the run's key."""
    key_given: bool
    """Whether that is the fingerprint that the caller had from elsewhere."""
    config_root: str
    evidence_key: str
    """Public key (hexadecimal) that evidence is sealed for; empty where none is kept."""
    rows: int = 0
    steps: int = 0
    """Steps in force."""
    replaced_steps: int = 0
    """Commits that a later resumption has replaced."""
    slots: int = 0
    """Headers and corrections of training."""
    settlements: int = 0
    alerts: int = 0
    corrections: int = 0
    receipts: int = 0
    steps_not_countersigned: int = 0
    """Steps in force that no worker has countersigned, in a run that has workers."""
    disputes: list[str] = field(default_factory=list)
    """Parties that countersigned another ledger than this one: they lie, or somebody keeps two."""
    verdicts: list[Verdict] = field(default_factory=list)
    closed: bool = False
    rows_after_commit: int = 0
    """Rows behind the last commit of an open ledger: nothing covers them yet."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader must know before relying on it."""
        notes = []
        if not self.key_given:
            notes.append("the key is the ledger's own word; compare it with the one shown at the start of the run")
        if not self.closed:
            notes.append(
                "the ledger is not closed: rows may be missing from its end, "
                f"and nothing covers the last {self.rows_after_commit} yet"
            )
        if self.steps_not_countersigned:
            notes.append(
                f"nobody countersigned {_count(self.steps_not_countersigned, 'step')}: whoever has the run's key could "
                "have left rows of them out"
            )
        return (*notes, *self.disputes)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = asdict(self)
        plain["verdicts"] = [verdict.to_json() for verdict in self.verdicts]
        return {"verified": True, **plain, "warnings": list(self.warnings)}

    def __str__(self) -> str:
        lines = [
            f"the ledger of run {self.run} holds: {_count(self.rows, 'row')}, {_count(self.steps, 'step')}"
            + (f" and {self.replaced_steps:,} that were replaced" if self.replaced_steps else ""),
            f"run key     {self.run_key}{' (as given)' if self.key_given else ''}",
            f"work        {_count(self.slots, 'tensor')} signed for, {_count(self.settlements, 'settlement')}, "
            f"{_count(self.corrections, 'correction')}, {_count(self.receipts, 'receipt')}",
            f"cases       {_count(self.alerts, 'alert')}, {_count(len(self.verdicts), 'verdict')}",
            *(f"note        {note}" for note in self.warnings),
        ]
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
