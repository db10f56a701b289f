"""What people and reviewers read out of a ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from make_believe import QUIET, RUN, Teller, root
from stored import copy_of, run_sql

from shieldwall.core.errors import LedgerError, LedgerFileError
from shieldwall.core.ids import Direction
from shieldwall.core.statements import Alert, GradientClaim, Header, Settlement, StateOpening, StateSeal
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.ledger.cases import cases
from shieldwall.verify.ledger.show import rule_in_words, sentence, show_ledger

VERDICT = Verdict(
    run=RUN,
    view=0,
    attempt=0,
    step=3,
    micro_batch=5,
    direction=CaseDirection.FORWARD,
    stage=2,
    culprit="birch",
    rule=1,
    accuser="ash",
    expected=root("right"),
    got=root("wrong"),
    reason="It is off in 41 rows.",
)


def test_a_verdict_in_words() -> None:
    with copy_of("eventful") as path:
        text = show_ledger(path, verdicts=True)
    first = text.split("\n\n")[0]
    assert first == "\n".join(
        [
            "In step 0, micro-batch 1, forward, stage 1: worker-1 is the culprit. "
            "Rule 1, wrong compute: what it made does not follow from the input and the state that it signed for.",
            f"  expected  {root('tensor', 0, 1, Direction.FORWARD, 1)} (what the referee got)",
            f"  got       {root('lie', 0, 1, Direction.FORWARD, 1)} (signed by worker-1)",
            "  reason    What it signed does not follow from the input.",
            "  accuser   worker-2",
            "  found     in step 0, before it was committed",
            "  repaired  the referee's tensor took its place",
            f"  evidence  {root('evidence', 0)}",
            "  ledger    row 15, view 0, attempt 0",
        ]
    )
    assert text.endswith("shown as it is stored; shieldwall ledger verify checks it")


def test_every_rule_has_its_words() -> None:
    names = {rule: rule_in_words(replace(VERDICT, rule=rule))[0] for rule in range(1, 7)}
    assert len(set(names.values())) == 6
    assert rule_in_words(replace(VERDICT, culprit="ash"))[0] == "false accusation"
    about_state = replace(VERDICT, micro_batch=None, direction=CaseDirection.GRADIENTS, rule=5)
    assert sentence(about_state).startswith("In step 3, stage 2: birch is the culprit over its gradients. Rule 5, ")


@pytest.mark.parametrize(
    "changes", [{"rule": 0}, {"rule": 7}, {"micro_batch": None}, {"direction": CaseDirection.STATE}]
)
def test_a_verdict_that_makes_no_sense_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"there is no rule|does not fit direction"):
        replace(VERDICT, **changes)  # type: ignore[arg-type]


def test_a_verdict_as_a_row_of_the_summary() -> None:
    assert VERDICT.summary_row(7) == {
        "step": 3,
        "micro_batch": 5,
        "direction": "forward",
        "stage": 2,
        "culprit": "birch",
        "rule": 1,
        "caught_in_step": 7,
    }
    assert str(VERDICT) == "step 3, micro-batch 5, forward, stage 2"


def test_verdicts_for_scripts() -> None:
    with copy_of("eventful") as path:
        found = json.loads(show_ledger(path, verdicts=True, as_json=True))
        assert [case["row"] for case in found] == [case.row for case in cases(path)]
    assert len(found) == 6
    assert {"culprit", "rule", "expected", "got", "caught_in_step", "corrected", "sentence"} <= set(found[0])


def test_no_verdicts_are_said_to_be_none() -> None:
    with copy_of("quiet") as path:
        assert "nobody was found guilty" in show_ledger(path, verdicts=True)
        assert json.loads(show_ledger(path, verdicts=True, as_json=True)) == []


def test_a_line_for_each_step() -> None:
    with copy_of("eventful") as path:
        lines = show_ledger(path).splitlines()
        plain = json.loads(show_ledger(path, as_json=True))
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["0", "1", "2", "1", "2"]
    assert [step["replaced"] for step in plain["steps"]] == [False, True, True, False, False]
    assert plain["steps"][0]["tensors"] == 12
    assert plain["steps"][0]["verdicts"] == 2
    assert plain["steps"][0]["learning_rate"] == 1e-3
    assert plain["closed"] is True


def test_a_case_comes_with_what_was_signed_about_it() -> None:
    with copy_of("eventful") as path:
        found = list(cases(path))
    tensor, update = found[0], found[1]
    assert [type(signed.statement) for signed in tensor.statements] == [Header, Alert, Header]
    assert [signed.signer for signed in tensor.statements] == ["worker-1", "worker-2", "initiator"]
    assert [signed.statement.root_out for signed in tensor.inputs] == [tensor.statements[0].statement.root_in]
    assert tensor.corrected
    assert tensor.evidence == (root("evidence", 0),)
    kinds = [GradientClaim, GradientClaim, StateSeal, StateSeal, StateOpening, StateOpening]
    assert [type(signed.statement) for signed in update.statements] == kinds
    worked_on = {(signed.statement.slot.direction, signed.statement.slot.stage) for signed in update.inputs}
    stage = update.verdict.stage
    wanted = {(Direction.FORWARD, 0), (Direction.FORWARD, stage - 1), (Direction.BACKWARD, stage + 1)}
    assert worked_on == wanted
    backward = next(case for case in found if case.verdict.direction is CaseDirection.BACKWARD)
    came = [signed for signed in backward.inputs if signed.statement.slot.direction is Direction.BACKWARD]
    gone_over = [signed for signed in backward.inputs if signed.statement.slot.direction is Direction.FORWARD]
    assert [signed.statement.slot.stage for signed in came] == [backward.verdict.stage + 1]
    stage = backward.verdict.stage
    assert {signed.statement.slot.stage for signed in gone_over} == {stage - 1, stage}


def test_a_step_done_again_has_its_own_cases(tmp_path: Path) -> None:
    """The step before the resumption and the one after it are told apart."""
    story = replace(QUIET, steps=1, wrong_update=frozenset({(0, 1)}), resumed_at=0)
    first, again = cases(Teller(tmp_path, story).tell())
    assert [len(case.statements) for case in (first, again)] == [6, 6]
    assert first.statements != again.statements
    assert (first.caught_in_step, again.caught_in_step) == (0, 0)


def test_a_verdict_that_comes_later_says_when(tmp_path: Path) -> None:
    """An audit may find out after the commit."""
    teller = Teller(tmp_path, QUIET)
    writer = teller.begin()
    teller.tell_step(writer)
    writer.record(replace(VERDICT, step=0, micro_batch=1, stage=1))
    teller.tell_step(writer)
    writer.close()
    (case,) = cases(tmp_path)
    assert case.caught_in_step == 1
    assert [type(signed.statement) for signed in case.statements] == [Header, Settlement]
    assert "in step 1, after step 0 was committed" in show_ledger(tmp_path, verdicts=True)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerFileError, match="SW-L201"):
        show_ledger(tmp_path)
    with copy_of("eventful") as path:
        run_sql(path, ("UPDATE rows SET body = '{}' WHERE seq = 15", ()))
        with pytest.raises(LedgerError, match="SW-L107") as caught:
            show_ledger(path, verdicts=True)
        assert caught.value.row == 15
    with copy_of("eventful") as path:
        run_sql(path, ("UPDATE rows SET signature = 'none' WHERE seq = 4", ()))
        with pytest.raises(LedgerError, match="SW-L104"):
            show_ledger(path, verdicts=True)
