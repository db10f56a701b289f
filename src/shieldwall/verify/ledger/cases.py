"""Each verdict of a ledger with what was signed about it, for whoever wants to judge it again.

Nothing is verified here; `verify_ledger` comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from shieldwall.core.ids import INITIATOR, Direction
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Receipt
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.ledger.chain import read_signed, read_statement
from shieldwall.verify.ledger.file import LedgerFile, open_ledger
from shieldwall.verify.ledger.parsing import CORRECTION
from shieldwall.verify.ledger.records import CommitRecord, ResumeRecord, RunRecord, ViewRecord
from shieldwall.verify.ledger.rows import Row

_Slot: TypeAlias = tuple[int, int, int, str, int]
"""Step, attempt, micro-batch, direction, stage."""
_State: TypeAlias = tuple[int, int]
"""Step, stage."""
_Pass: TypeAlias = tuple[int, str, int]
"""Step, direction, stage: the slots of all micro-batches and attempts."""
_Key: TypeAlias = _Slot | _State | _Pass


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
    statements_before: int = field(repr=False)
    """How many of `statements` stand before the verdict."""
    inputs: tuple[Signed[Any], ...] = field(repr=False)
    """What had been signed, before the verdict, about the slots that the tensor was made from. For gradients and
    updates: about those that the stage worked on in the step, and about the initiator's own first stage, which says
    which attempts there were."""
    view: ViewRecord | None = field(repr=False)
    """Who held and checked what; None where the ledger does not have that view."""
    state_root: str
    """Root of the stage's state in force, as co-signed when the judged work began; empty where there is none."""
    commit: CommitRecord | None = field(repr=False)
    """The commit of the verdict's step that comes next after it, if there is one."""
    countersigned: bool
    """Whether all workers that had a part in that commit, the culprit aside, countersigned it, and there are any. Then
    no row before it was taken away since without their knowing."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Roots of the pieces of evidence."""
        return self.verdict.evidence


@dataclass(slots=True)
class _Found:
    row: Row
    verdict: Verdict
    step: int
    resumptions: int
    view: ViewRecord | None
    state_root: str
    commit: CommitRecord | None = None
    head: str = ""
    """Of the chain, once that commit is in it."""
    workers: frozenset[str] = frozenset()
    """Who held something then."""


class _Kept(NamedTuple):
    seq: int
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
        course = _course(ledger)
        kept = _statements(ledger, course.found) if course.found else {}
    return (_case(each, kept, countersigned=course.is_countersigned(each)) for each in course.found)


def _course(ledger: LedgerFile) -> _Course:
    kinds = (RunRecord, ViewRecord, Verdict, CommitRecord, ResumeRecord, Receipt)
    rows = sorted((row for kind in kinds for row in ledger.all_of(kind.kind)), key=lambda row: row.seq)
    course = _Course()
    for row in rows:
        course.take(row, read_statement(row))
    return course


class _Course:
    """The course of a run as its initiator tells it: steps, views, states in force."""

    def __init__(self) -> None:
        self.found: list[_Found] = []
        self._step = self._resumptions = 0
        self._views: dict[int, ViewRecord] = {}
        self._roots: dict[int, Mapping[int, str]] = {}
        """Before each step, the root of each stage's state."""
        self._workers: frozenset[str] = frozenset()
        self._receipts: set[tuple[str, str]] = set()
        """Who countersigned which head."""

    def is_countersigned(self, found: _Found) -> bool:
        others = found.workers - {found.verdict.culprit}
        return bool(others) and all((name, found.head) in self._receipts for name in others)

    def take(self, row: Row, statement: Any) -> None:
        if isinstance(statement, RunRecord):
            self._roots[0] = statement.state_roots
        elif isinstance(statement, ViewRecord):
            self._views[statement.view] = statement
            self._workers = frozenset({*statement.holders.values(), *statement.checkers.values()} - {INITIATOR})
            self._roots[self._step] = {**self._roots.get(self._step, {}), **statement.state_roots}
        elif isinstance(statement, Receipt):
            self._receipts.add((row.signer, statement.head))
        elif isinstance(statement, CommitRecord):
            self._step = statement.step + 1
            self._roots[self._step] = {**self._roots.get(statement.step, {}), **statement.state_roots}
            for each in self.found:
                if each.verdict.step == statement.step and each.commit is None:
                    each.commit, each.head, each.workers = statement, row.hash, self._workers
        elif isinstance(statement, ResumeRecord):
            self._step, self._resumptions = statement.step, self._resumptions + 1
            self._roots[self._step] = {**statement.state_roots, **self._roots.get(self._step, {})}
        else:
            # What was served is held against the state in force then; work, against the one that it began with.
            began = self._step if statement.direction is CaseDirection.STATE else statement.step
            root = self._roots.get(began, {}).get(statement.stage, "")
            view = self._views.get(statement.view)
            self.found.append(_Found(row, statement, self._step, self._resumptions, view, root))


def _statements(ledger: LedgerFile, found: list[_Found]) -> dict[_Key, list[_Kept]]:
    """What was signed about the slots and states that the verdicts are about, and about what those were made from."""
    wanted = {key for each in found for key in (_about(each.verdict), *_inputs(each.verdict))}
    kept: dict[_Key, list[_Kept]] = defaultdict(list)
    resumptions = 0
    for row in ledger.rows():
        resumptions += row.kind == ResumeRecord.kind
        if row.kind in (Verdict.kind, CommitRecord.kind):
            continue
        signed = read_signed(row)
        for key in _keys(signed.statement):
            if key in wanted:
                kept[key].append(_Kept(row.seq, resumptions, row.kind, signed))
    return kept


def _keys(statement: Any) -> tuple[_Key, ...]:
    slot = getattr(statement, "slot", None)
    if slot is not None:
        direction = slot.direction.value
        one = slot.step, slot.attempt, slot.micro_batch, direction, slot.stage
        return one, (slot.step, direction, slot.stage)
    holding = getattr(statement, "holding", None)
    return () if holding is None else ((holding.step, holding.stage),)


def _about(verdict: Verdict) -> _Slot | _State:
    if verdict.micro_batch is None:
        return verdict.step, verdict.stage
    return verdict.step, verdict.attempt, verdict.micro_batch, verdict.direction.value, verdict.stage


def _inputs(verdict: Verdict) -> list[_Key]:
    """Where the inputs of the judged tensor were made.

    In backward these are the gradient, and the activation gone back over with what the stage said of it in forward.
    """
    forward, backward, stage = Direction.FORWARD.value, Direction.BACKWARD.value, verdict.stage
    if verdict.direction in (CaseDirection.GRADIENTS, CaseDirection.UPDATE):
        passes = dict.fromkeys(((forward, 0), (forward, stage - 1), (backward, stage + 1)))
        return [(verdict.step, direction, each) for direction, each in passes]
    if verdict.micro_batch is None:
        return []
    sources: list[tuple[str, int]] = [(verdict.direction.value, stage - 1)]
    if verdict.direction is CaseDirection.BACKWARD:
        sources = [(backward, stage + 1), (forward, stage - 1), (forward, stage)]
    return [(verdict.step, verdict.attempt, verdict.micro_batch, *source) for source in sources]


def _case(found: _Found, kept: dict[_Key, list[_Kept]], *, countersigned: bool) -> Case:
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
        statements_before=sum(each.seq < found.row.seq for each in about),
        inputs=tuple(
            each.signed
            for source in _inputs(verdict)
            for each in kept.get(source, ())
            if each.seq < found.row.seq and each.resumptions <= found.resumptions
        ),
        view=found.view,
        state_root=found.state_root,
        commit=found.commit,
        countersigned=countersigned,
    )
