"""From the text of a row back to the statement that was signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.ids import Direction, Role, Slot
from shieldwall.core.statements import (
    Alert,
    GradientClaim,
    Halt,
    Header,
    Holding,
    Inquiry,
    Receipt,
    Refusal,
    Settlement,
    StateOpening,
    StateSeal,
)
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.ledger.fields import Fields
from shieldwall.verify.ledger.records import ClosingRecord, CommitRecord, ResumeRecord, RunRecord, ViewRecord

D = TypeVar("D", Alert, Inquiry)

CORRECTION = "correction"
"""Kind of the rows whose statement is a header of the initiator in the place of a worker's."""


def statement_of(kind: str, body: str) -> Any:
    """The statement in a row's body.

    Raises:
        ValueError: the kind is unknown, or the body is not exactly what a statement of that kind is written as.
    """
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(f"no statement is called {kind!r}")
    try:
        statement = reader(Fields(json.loads(body)))
        exact = canonical_bytes(statement.to_json())
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if exact != body.encode():
        raise ValueError("it is not written in the canonical form, or has fields that do not belong there")
    return statement


def step_of(statement: Any) -> int | None:
    """The step that a statement speaks of; None where it speaks of none."""
    for holder in ("slot", "holding"):
        if hasattr(statement, holder):
            step: int = getattr(statement, holder).step
            return step
    return getattr(statement, "step", None)


def run_of(statement: Any) -> str:
    """The run that a statement speaks of."""
    for holder in ("slot", "holding"):
        if hasattr(statement, holder):
            return str(getattr(statement, holder).run)
    return str(statement.run)


def filed_under(statement: Any, run: str, step: int) -> int:
    """The step that a row is stored under when `step` is in work.

    It is the one that the statement speaks of. A worker may sign any nonsense about another run or a step to come; that
    is kept under the step in work and counts for nothing.
    """
    named = step_of(statement)
    if named is None or run_of(statement) != run or not 0 <= named <= step:
        return step
    return named


def _slot(fields: Fields) -> Slot:
    return Slot(
        run=fields.text("run"),
        view=fields.integer("view"),
        attempt=fields.integer("attempt"),
        step=fields.integer("step"),
        micro_batch=fields.integer("micro_batch"),
        direction=Direction(fields.text("direction")),
        stage=fields.integer("stage"),
    )


def _holding(fields: Fields) -> Holding:
    return Holding(
        run=fields.text("run"),
        view=fields.integer("view"),
        step=fields.integer("step"),
        stage=fields.integer("stage"),
        role=Role(fields.text("role")),
    )


def _header(fields: Fields) -> Header:
    return Header(
        slot=_slot(fields.inner("slot")),
        source=fields.text("source"),
        destinations=fields.texts("destinations"),
        shape=fields.wholes("shape"),
        dtype=fields.text("dtype"),
        arithmetic=fields.text("arithmetic"),
        root_in=fields.text("root_in"),
        root_out=fields.text("root_out"),
        state_root=fields.text("state_root"),
    )


def _settlement(fields: Fields) -> Settlement:
    return Settlement(
        slot=_slot(fields.inner("slot")), root_in=fields.text("root_in"), root_out=fields.text("root_out")
    )


def _difference(kind: type[D], fields: Fields) -> D:
    return kind(
        slot=_slot(fields.inner("slot")),
        root_in=fields.text("root_in"),
        root_out=fields.text("root_out"),
        claimed=fields.text("claimed"),
    )


def _refusal(fields: Fields) -> Refusal:
    return Refusal(slot=_slot(fields.inner("slot")), sender=fields.text("sender"), reason=fields.text("reason"))


def _halt(fields: Fields) -> Halt:
    return Halt(slot=_slot(fields.inner("slot")), root_in=fields.text("root_in"), what=fields.text("what"))


def _gradients(fields: Fields) -> GradientClaim:
    return GradientClaim(
        holding=_holding(fields.inner("holding")), root=fields.text("root"), norms=fields.by_name("norms")
    )


def _seal(fields: Fields) -> StateSeal:
    return StateSeal(holding=_holding(fields.inner("holding")), sealed=fields.text("sealed"))


def _opening(fields: Fields) -> StateOpening:
    return StateOpening(holding=_holding(fields.inner("holding")), nonce=fields.text("nonce"), root=fields.text("root"))


def _receipt(fields: Fields) -> Receipt:
    return Receipt(run=fields.text("run"), step=fields.integer("step"), head=fields.text("head"))


def _verdict(fields: Fields) -> Verdict:
    return Verdict(
        run=fields.text("run"),
        view=fields.whole("view"),
        attempt=fields.whole("attempt"),
        step=fields.whole("step"),
        micro_batch=fields.whole_or_none("micro_batch"),
        direction=CaseDirection(fields.text("direction")),
        stage=fields.whole("stage"),
        culprit=fields.text("culprit"),
        rule=fields.whole("rule"),
        accuser=fields.text("accuser"),
        expected=fields.text("expected"),
        got=fields.text("got"),
        reason=fields.text("reason"),
        evidence=fields.texts("evidence"),
    )


def _run(fields: Fields) -> RunRecord:
    return RunRecord(
        run=fields.text("run"),
        config_root=fields.text("config_root"),
        run_key=fields.key("run_key"),
        keys=fields.keys("keys"),
        arithmetic=fields.text("arithmetic"),
        evidence_key=fields.key("evidence_key") if fields.text("evidence_key") else b"",
        state_roots=fields.by_stage("state_roots"),
    )


def _view(fields: Fields) -> ViewRecord:
    return ViewRecord(
        run=fields.text("run"),
        view=fields.whole("view"),
        holders=fields.by_stage("holders"),
        checkers=fields.by_stage("checkers"),
        arithmetic=fields.text("arithmetic"),
        keys=fields.keys("keys"),
        bypassed=fields.wholes_or_none("bypassed") or (),
        still=fields.wholes_or_none("still") or (),
        state_roots=fields.by_stage_or_none("state_roots") or {},
    )


def _commit(fields: Fields) -> CommitRecord:
    return CommitRecord(
        run=fields.text("run"),
        step=fields.whole("step"),
        attempt=fields.whole("attempt"),
        micro_batches=fields.whole("micro_batches"),
        state_roots=fields.by_stage("state_roots"),
        clip_coefficients=fields.numbers_by_stage("clip_coefficients"),
        learning_rate=fields.number("learning_rate"),
        norm=fields.number("norm"),
        head=fields.text("head"),
    )


def _resume(fields: Fields) -> ResumeRecord:
    return ResumeRecord(
        run=fields.text("run"),
        step=fields.whole("step"),
        attempt=fields.whole("attempt"),
        keys=fields.keys("keys"),
        state_roots=fields.by_stage_or_none("state_roots") or {},
    )


def _closing(fields: Fields) -> ClosingRecord:
    return ClosingRecord(
        run=fields.text("run"), rows=fields.whole("rows"), steps=fields.whole("steps"), head=fields.text("head")
    )


_READERS: dict[str, Callable[[Fields], Any]] = {
    RunRecord.kind: _run,
    ViewRecord.kind: _view,
    Header.kind: _header,
    CORRECTION: _header,
    Settlement.kind: _settlement,
    Alert.kind: partial(_difference, Alert),
    Inquiry.kind: partial(_difference, Inquiry),
    Refusal.kind: _refusal,
    Halt.kind: _halt,
    GradientClaim.kind: _gradients,
    StateSeal.kind: _seal,
    StateOpening.kind: _opening,
    Verdict.kind: _verdict,
    CommitRecord.kind: _commit,
    Receipt.kind: _receipt,
    ResumeRecord.kind: _resume,
    ClosingRecord.kind: _closing,
}

KINDS = frozenset(_READERS)
"""Every kind of row."""

INITIATOR_KINDS = frozenset(
    {
        RunRecord.kind,
        ViewRecord.kind,
        CORRECTION,
        Verdict.kind,
        CommitRecord.kind,
        ResumeRecord.kind,
        ClosingRecord.kind,
    }
)
"""Rows that only the run's key may sign."""
