"""Each verdict of a ledger with what was signed about it, for whoever wants to judge it again.

Nothing is verified here; `verify_ledger` comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from shieldwall.core.ids import Direction
from shieldwall.core.signing import Signed
from shieldwall.core.verdicts import Verdict
from shieldwall.verify.ledger.chain import read_signed, read_statement
from shieldwall.verify.ledger.file import LedgerFile, open_ledger
from shieldwall.verify.ledger.parsing import CORRECTION
from shieldwall.verify.ledger.records import CommitRecord, ResumeRecord
from shieldwall.verify.ledger.rows import Row

_Slot: TypeAlias = tuple[int, int, int, str, int]
"""Step, attempt, micro-batch, direction, stage."""
_State: TypeAlias = tuple[int, int]
"""Step, stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One verdict and what was signed about it."""

    row: int
    """Number of the verdict's row."""
    caught_in_step: int
    """The step that was in work when the verdict was written."""
    corrected: bool
    """Whether a tensor of the initiator took the place of what was judged."""
    verdict: Verdict
    statements: tuple[Signed[Any], ...] = field(repr=False)
    """About the slot, or about the stage's gradients and states in that step."""
    inputs: tuple[Signed[Any], ...] = field(repr=False)
    """About the slots that the tensor was made from; empty for gradients and states."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Roots of the pieces of evidence."""
        return self.verdict.evidence


class _Found(NamedTuple):
    row: Row
    verdict: Verdict
    step: int
    resumptions: int


class _Kept(NamedTuple):
    resumptions: int
    kind: str
    signed: Signed[Any]


def cases(path: Path) -> Iterator[Case]:
    """All cases of a ledger, in the order of their verdicts.

    Args:
        path: the run's folder, or the ledger itself.

    Raises:
        LedgerFileError: SW-L201; there is no ledger.
        LedgerError: SW-L101, SW-L102, SW-L104 or SW-L107; it cannot be read.
    """
    with open_ledger(path) as ledger:
        found = _verdicts(ledger)
        kept = _statements(ledger, found) if found else {}
    return (_case(each, kept) for each in found)


def _verdicts(ledger: LedgerFile) -> list[_Found]:
    found, step, resumptions = [], 0, 0
    rows = sorted(
        (row for kind in (Verdict.kind, CommitRecord.kind, ResumeRecord.kind) for row in ledger.all_of(kind)),
        key=lambda row: row.seq,
    )
    for row in rows:
        statement = read_statement(row)
        if isinstance(statement, CommitRecord):
            step = statement.step + 1
        elif isinstance(statement, ResumeRecord):
            step, resumptions = statement.step, resumptions + 1
        else:
            found.append(_Found(row, statement, step, resumptions))
    return found


def _statements(ledger: LedgerFile, found: list[_Found]) -> dict[_Slot | _State, list[_Kept]]:
    """What was signed about the slots and states that the verdicts are about, and about what those were made from."""
    wanted = {key for each in found for key in (_about(each.verdict), *_inputs(each.verdict))}
    kept: dict[_Slot | _State, list[_Kept]] = defaultdict(list)
    resumptions = 0
    for row in ledger.rows():
        resumptions += row.kind == ResumeRecord.kind
        if row.kind in (Verdict.kind, CommitRecord.kind):
            continue
        signed = read_signed(row)
        key = _key(signed.statement)
        if key in wanted:
            kept[key].append(_Kept(resumptions, row.kind, signed))
    return kept


def _key(statement: Any) -> _Slot | _State | None:
    slot = getattr(statement, "slot", None)
    if slot is not None:
        return slot.step, slot.attempt, slot.micro_batch, slot.direction.value, slot.stage
    holding = getattr(statement, "holding", None)
    return None if holding is None else (holding.step, holding.stage)


def _about(verdict: Verdict) -> _Slot | _State:
    if verdict.micro_batch is None:
        return verdict.step, verdict.stage
    return verdict.step, verdict.attempt, verdict.micro_batch, verdict.direction.value, verdict.stage


def _inputs(verdict: Verdict) -> list[_Slot]:
    """Where the inputs of the judged tensor were made: in backward the gradient, and the activation gone back over."""
    if verdict.micro_batch is None:
        return []
    sources: list[tuple[str, int]] = [(verdict.direction.value, verdict.stage - 1)]
    if verdict.direction.value == Direction.BACKWARD.value:
        sources = [(verdict.direction.value, verdict.stage + 1), (Direction.FORWARD.value, verdict.stage - 1)]
    return [(verdict.step, verdict.attempt, verdict.micro_batch, *source) for source in sources]


def _case(found: _Found, kept: dict[_Slot | _State, list[_Kept]]) -> Case:
    verdict = found.verdict
    about = [each for each in kept.get(_about(verdict), ()) if each.resumptions <= found.resumptions]
    if verdict.micro_batch is None and about:
        # A step that was done again after a resumption has the same states once more; the last ones are meant.
        newest = about[-1].resumptions
        about = [each for each in about if each.resumptions == newest]
    return Case(
        row=found.row.seq,
        caught_in_step=found.step,
        corrected=any(each.kind == CORRECTION for each in about),
        verdict=verdict,
        statements=tuple(each.signed for each in about),
        inputs=tuple(each.signed for source in _inputs(verdict) for each in kept.get(source, ())),
    )
