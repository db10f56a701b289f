"""What must be signed for a verdict to hold, rule by rule, over hand-made cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from make_believe import identity, root

from shieldwall.core.ids import INITIATOR, Direction, Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Halt, Header, Inquiry
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.ledger import ViewRecord
from shieldwall.verify.ledger.cases import Case
from shieldwall.verify.ledger.proof import Proof, WorkRoots

SLOT = Slot(run="run", view=0, attempt=0, step=3, micro_batch=1, direction=Direction.FORWARD, stage=2)
VIEW = ViewRecord(
    run="run",
    view=0,
    holders={0: INITIATOR, 1: "ash", 2: "birch", 3: INITIATOR},
    checkers={1: "birch", 2: "ash"},
    arithmetic="exact",
)
VERDICT = Verdict(
    run="run",
    view=0,
    attempt=0,
    step=3,
    micro_batch=1,
    direction=CaseDirection.FORWARD,
    stage=2,
    culprit="birch",
    rule=1,
    accuser="ash",
    expected=root("right"),
    got="",
    reason="It is so.",
)
HEADER = Header(
    slot=SLOT,
    source="birch",
    destinations=("initiator",),
    shape=(1, 2, 3),
    dtype="float32",
    arithmetic="exact",
    root_in=root("input"),
    root_out=root("wrong"),
    state_root=root("state"),
)
SOURCE = replace(HEADER, slot=replace(SLOT, stage=1), source="ash", root_in=root("far"), root_out=root("input"))
WORK = WorkRoots(entries={1: root("input")}, arrived={}, state=root("state"))


def said(*statements: Any, by: str = "birch") -> tuple[Signed[Any], ...]:
    return tuple(identity(by).sign(statement) for statement in statements)


def case(*statements: Signed[Any], inputs: tuple[Signed[Any], ...] = (), late: int = 0, **changes: Any) -> Case:
    return Case(
        row=9,
        caught_in_step=3,
        corrected=False,
        verdict=replace(VERDICT, **changes),
        statements=statements,
        statements_before=len(statements) - late,
        inputs=inputs or said(SOURCE, by="ash"),
        view=VIEW,
        state_root=root("state"),
        commit=None,
        countersigned=True,
    )


@pytest.mark.parametrize(
    ("rule", "culprit", "rests"),
    [
        (1, "birch", False),
        (1, "ash", True),
        (2, "birch", True),
        (2, "ash", True),
        (3, "birch", False),
        (4, "birch", True),
    ],
)
def test_some_guilt_rests_on_what_is_not_there(rule: int, culprit: str, rests: bool) -> None:
    assert Proof(case(rule=rule, culprit=culprit)).rests_on_absence is rests


def test_nothing_came_from_who_signed_nothing() -> None:
    assert Proof(case(rule=4)).is_signed
    assert Proof(case(*said(HEADER), late=1, rule=4)).is_signed  # it came too late
    assert not Proof(case(*said(HEADER), rule=4)).is_signed
    assert not Proof(case(rule=4, culprit="ash")).is_signed
    assert not Proof(case(rule=4, got=root("wrong"))).is_signed


def test_who_stopped_said_so_of_its_input() -> None:
    halt = Halt(slot=SLOT, root_in=root("input"), what="nan")
    assert Proof(case(*said(halt))).is_signed
    assert Proof(case(*said(halt))).binds(WORK)
    assert not Proof(case(*said(replace(halt, root_in=root("else"))))).binds(WORK)
    assert not Proof(case(*said(halt, by="ash"))).is_signed
    assert not Proof(case()).is_signed


def test_another_state_is_one_that_the_header_names() -> None:
    other = replace(HEADER, state_root=root("poisoned"))
    facts: dict[str, Any] = {"rule": 5, "got": root("poisoned"), "expected": root("state")}
    assert Proof(case(*said(other), **facts)).is_signed
    assert not Proof(case(*said(HEADER), **facts)).is_signed
    assert not Proof(case(*said(other), **{**facts, "expected": root("right")})).is_signed


@pytest.mark.parametrize(
    "change", [{"root_in": root("else")}, {"state_root": root("else")}, {"destinations": ()}, {"root_out": root("two")}]
)
def test_two_headers_of_one_slot_differ_in_anything(change: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"rule": 3, "got": change.get("root_out", "text of the field")}
    assert Proof(case(*said(HEADER, replace(HEADER, **change)), **facts)).is_signed
    assert not Proof(case(*said(HEADER, HEADER), **facts)).is_signed
    assert not Proof(case(*said(HEADER), *said(replace(HEADER, **change), by="ash"), **facts)).is_signed
    later = replace(HEADER, slot=replace(SLOT, attempt=1), **change)
    assert not Proof(case(*said(HEADER, later), **facts)).is_signed


def test_who_fed_two_tensors_to_stage_and_checker_signed_both() -> None:
    facts: dict[str, Any] = {"rule": 3, "culprit": "ash", "got": root("two")}
    assert Proof(case(inputs=said(SOURCE, replace(SOURCE, root_out=root("two")), by="ash"), **facts)).is_signed
    assert not Proof(case(inputs=said(SOURCE, by="ash"), **facts)).is_signed
    both = case(inputs=said(SOURCE, replace(SOURCE, root_out=root("two")), by="ash"), **{**facts, "got": root("new")})
    assert not Proof(both).is_signed


def test_one_header_beside_a_correction_is_guilt_only_with_its_own_verdict() -> None:
    corrected = replace(SOURCE, source=INITIATOR, root_out=root("corrected"))
    inputs = (*said(SOURCE, by="ash"), *said(corrected, by=INITIATOR))
    facts: dict[str, Any] = {"rule": 3, "culprit": "ash", "expected": root("corrected"), "got": root("input")}
    assert not Proof(case(inputs=inputs, **facts)).is_signed
    assert Proof(case(inputs=inputs, **facts), {("ash", SOURCE.slot)}).is_signed


def test_a_checker_that_asks_without_cause() -> None:
    inquiry = Inquiry(slot=SLOT, root_in=root("input"), root_out=root("right"), claimed=root("claim"))
    facts: dict[str, Any] = {"rule": 2, "culprit": "ash", "expected": root("input"), "got": root("claim")}
    assert Proof(case(*said(HEADER), *said(inquiry, by="ash"), **facts)).is_signed
    named = replace(HEADER, root_in=root("claim"))
    assert not Proof(case(*said(named), *said(inquiry, by="ash"), **facts)).is_signed
    assert not Proof(case(*said(HEADER), **facts)).is_signed
    strange = replace(inquiry, root_in=root("strange"), claimed=root("input"))
    facts["got"] = root("strange")
    assert Proof(case(*said(HEADER), *said(strange, by="ash"), **facts)).is_signed
    both = said(SOURCE, replace(SOURCE, root_out=root("strange")), by="ash")
    assert not Proof(case(*said(HEADER), *said(strange, by="ash"), inputs=both, **facts)).is_signed


@pytest.mark.parametrize(
    "change",
    [
        {"arithmetic": "another"},
        {"source": "ash"},
        {"destinations": ()},
        {"dtype": "float64"},
        {"shape": (1, 2, 4)},
    ],
)
def test_a_right_tensor_under_a_header_that_does_not_fit_it(change: dict[str, Any]) -> None:
    wrong = replace(HEADER, root_out=root("right"), **change)
    blamed = case(*said(wrong), got=wrong.description)
    assert Proof(blamed).is_signed
    assert Proof(blamed).binds(WORK)
    fitting = replace(HEADER, root_out=root("right"))
    assert not Proof(case(*said(fitting), got=fitting.description)).is_signed
    assert not Proof(case(*said(fitting), got=wrong.description)).is_signed


def test_a_halt_beside_the_right_tensor() -> None:
    right, halt = replace(HEADER, root_out=root("right")), Halt(slot=SLOT, root_in=root("input"), what="nan")
    assert Proof(case(*said(right, halt))).is_signed
    assert Proof(case(*said(right, halt))).binds(WORK)
    assert not Proof(case(*said(right))).is_signed
    assert not Proof(case(*said(HEADER, halt))).is_signed


def test_work_counts_with_the_signed_input_and_state_alone() -> None:
    proof = Proof(case(*said(HEADER), got=root("wrong")))
    assert proof.is_signed
    assert proof.binds(WORK)
    assert not proof.binds(replace(WORK, state=root("else")))
    assert not proof.binds(replace(WORK, entries={1: root("else")}))
    assert not proof.binds(replace(WORK, entries={0: root("input")}))
    assert not Proof(case(*said(replace(HEADER, root_in=root("else"))), got=root("wrong"))).binds(WORK)
