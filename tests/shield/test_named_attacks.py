"""Guarantee G2 and G3, attack by attack: it fires, it is caught before it counts, the right one is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from harness import SETTLES, SMALL, When, assert_repaired, attack, culprits, found, small_folder

from conftest import MakeModel
from oracle import Trained, train_pipeline
from shieldwall.core.statements import GradientClaim, Halt
from shieldwall.core.verdicts import CaseDirection

STAGE = 2
ATTACKER = "worker-2"

every_settling = pytest.mark.parametrize("when", SETTLES)


def aimed(kind: str, **parameters: Any) -> Mapping[str, Any]:
    return {"kind": kind, "stage": STAGE, **parameters}


@every_settling
def test_own_weight_poisoning(when: When, make_model: MakeModel) -> None:
    """Poisoned after the commit of step 0, where nobody can see it; named in step 1, on the first slot it works on."""
    case = replace(SMALL, when=when)
    attacked = attack(case, make_model, aimed("own_weights", target="parameters"))
    trained = attacked.trained
    assert culprits(trained) == {ATTACKER}
    assert not [verdict for verdict in trained.verdicts if verdict.step == 0]
    assert len(found(trained, CaseDirection.FORWARD, 1)) >= case.micro_batches
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_wrong_optimizer_update(when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("wrong_update", factor=0.99)).trained
    for step in range(case.steps):
        assert [(verdict.culprit, verdict.rule) for verdict in found(trained, CaseDirection.UPDATE, step)] == [
            (ATTACKER, 5)
        ]
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


@every_settling
def test_poisoned_moments_with_right_weights(when: When, make_model: MakeModel) -> None:
    """Every message of the next step is right; only the state that it ends in is not."""
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("own_weights", target="moments")).trained
    assert {verdict.direction for verdict in trained.verdicts} == {CaseDirection.UPDATE, CaseDirection.STATE}
    for step in range(1, case.steps):
        assert [verdict.culprit for verdict in found(trained, CaseDirection.UPDATE, step)] == [ATTACKER]
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_changed_frozen_base_under_adapters(when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when, lora_rank=2)
    trained = attack(case, make_model, aimed("own_weights", target="frozen")).trained
    assert len(found(trained, CaseDirection.FORWARD, 0)) >= case.micro_batches
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


@every_settling
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_stale_weights_under_a_true_root(direction: str, when: When, make_model: MakeModel) -> None:
    """The headers carry the co-signed root; the tensors, and backward the gradients, are those of other weights.

    In the first step there are no older weights. A pass is a lie by itself: a stale forward pass spoils no gradient.
    """
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("stale_weights", direction=direction)).trained
    assert culprits(trained) == {ATTACKER}
    assert not [verdict for verdict in trained.verdicts if verdict.step == 0]
    way = CaseDirection.FORWARD if direction == "forward" else CaseDirection.BACKWARD
    for step in range(1, case.steps):
        assert len(found(trained, way, step)) >= case.micro_batches
        assert len(found(trained, CaseDirection.GRADIENTS, step)) == (direction == "backward")
    assert {verdict.rule for verdict in trained.verdicts} == {1}
    assert_repaired(trained, case, make_model)


@every_settling
@pytest.mark.parametrize("form", ["skip", "bfloat16", "int8"])
def test_a_stage_that_saves_work(form: str, when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("lazy", form=form)).trained
    assert {(verdict.culprit, verdict.rule) for verdict in trained.verdicts} == {(ATTACKER, 1)}
    for step in range(case.steps):
        for way in (CaseDirection.FORWARD, CaseDirection.BACKWARD):
            assert len(found(trained, way, step)) >= case.micro_batches
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_stage_that_does_not_learn(when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("lazy", form="frozen")).trained
    assert [(v.culprit, v.direction, v.rule) for v in trained.verdicts] == [
        (ATTACKER, CaseDirection.UPDATE, 5)
    ] * case.steps
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_permuted_weight_gradient_of_equal_norm(when: When, make_model: MakeModel) -> None:
    """Its norms say nothing: they are those of the duplicate, as far as another order of adding allows."""
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("wrong_gradient", form="permute")).trained
    for step in range(case.steps):
        assert [verdict.culprit for verdict in found(trained, CaseDirection.GRADIENTS, step)] == [ATTACKER]
        stage, duplicate = (norms_claimed(trained, step, role) for role in ("stage", "duplicate"))
        assert stage == pytest.approx(duplicate, rel=1e-5)
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


def norms_claimed(trained: Trained, step: int, role: str) -> dict[str, float]:
    (claim,) = (
        each.statement
        for each in trained.record.statements
        if isinstance(each.statement, GradientClaim)
        and (each.statement.holding.step, each.statement.holding.stage) == (step, STAGE)
        and each.statement.holding.role == role
    )
    return {name: float.fromhex(norm) for name, norm in claim.norms.items()}


@every_settling
def test_weights_poisoned_only_as_they_are_served(when: When, make_model: MakeModel) -> None:
    """Training is honest; what is handed out for the checkpoint is not, and the duplicate's copy is taken."""
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("own_weights", target="served")).trained
    assert [(v.culprit, v.direction, v.rule) for v in trained.verdicts] == [(ATTACKER, CaseDirection.STATE, 5)]
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_checker_that_feeds_its_duplicate_the_truth_and_the_stage_a_lie(when: When, make_model: MakeModel) -> None:
    """The host of stage 2 sends stage 1 a false gradient and its own duplicate of stage 1 the true one."""
    case = replace(SMALL, when=when)
    table = aimed("equivocate", to="consumer", direction="backward")
    trained = attack(case, make_model, table).trained
    assert {(verdict.culprit, verdict.rule) for verdict in trained.verdicts} == {(ATTACKER, 3)}
    for step in range(case.steps):
        assert len(found(trained, CaseDirection.BACKWARD, step)) >= case.micro_batches
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_checker_that_never_recomputes_and_echoes(when: When, make_model: MakeModel) -> None:
    """Its settlements are right by luck; the gradients of the duplicate that it never ran are not there."""
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("lazy_checker")).trained
    for step in range(case.steps):
        (verdict,) = found(trained, CaseDirection.GRADIENTS, step)
        assert (verdict.culprit, verdict.stage) == (ATTACKER, STAGE - 1)
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


def test_a_replay_from_an_older_attempt(make_model: MakeModel) -> None:
    """A lie has the step run again, and in the second attempt the attacker sends what it sent in the first."""
    case = replace(SMALL, when="before_commit", steps=1)
    attacked = attack(case, make_model, aimed("sign_flip", direction="forward"), aimed("replay", direction="forward"))
    trained = attacked.trained
    assert attacked.log.by_kind["replay"] >= case.micro_batches
    assert trained.rerun == case.micro_batches
    replayed = [refusal for refusal in trained.refusals if refusal.slot.attempt == 1]
    assert {refusal.sender for refusal in replayed} == {ATTACKER}
    assert {refusal.reason for refusal in replayed} == {"it is of step 0, attempt 0"}
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


@every_settling
def test_an_honest_worker_that_overflows_on_garbage_is_not_blamed(when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, aimed("constant", value=3e38)).trained
    halted = {each.signer for each in trained.record.statements if isinstance(each.statement, Halt)}
    if when == "before_commit":
        assert halted - {ATTACKER}, "nobody honest overflowed, so nothing is tested here"
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


def test_an_honest_re_run_is_not_equivocation(make_model: MakeModel) -> None:
    """Dropout draws the same masks in each attempt; two headers for one piece of work are two attempts."""
    case = replace(SMALL, when="before_commit", dropout=0.2)
    trained = attack(case, make_model, aimed("noise", rate=0.5)).trained
    assert trained.rerun > 0
    assert {verdict.rule for verdict in trained.verdicts} == {1}
    assert culprits(trained) == {ATTACKER}
    assert_repaired(trained, case, make_model)


@every_settling
def test_a_false_accuser_is_condemned_at_its_first_accusation(when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when, bans=True)
    attacked = attack(case, make_model, aimed("false_accusation"))
    trained = attacked.trained
    assert attacked.log.fired == 2 * case.micro_batches * case.steps
    (verdict,) = trained.verdicts
    assert (verdict.culprit, verdict.rule, verdict.step, verdict.stage) == (ATTACKER, 1, 0, STAGE - 1)
    assert verdict.accuser == ATTACKER
    assert trained.rerun == 0
    assert_repaired(trained, case, make_model)


def test_the_attacks_are_real(make_model: MakeModel) -> None:
    """Without the shield each attack on tensors, gradients, updates or states changes the weights."""
    case = replace(SMALL, when=None)
    clean = train_pipeline(case, small_folder(make_model)).weights
    for table in (
        aimed("own_weights", target="parameters"),
        aimed("own_weights", target="moments"),
        aimed("own_weights", target="served"),
        aimed("wrong_update", factor=0.99),
        aimed("wrong_gradient", form="permute"),
        aimed("equivocate", to="consumer", direction="backward"),
        aimed("noise", rate=0.5),
        aimed("stale_weights", direction="forward"),
        aimed("stale_weights", direction="backward"),
        *(aimed("lazy", form=form) for form in ("skip", "bfloat16", "int8", "frozen")),
    ):
        weights = attack(case, make_model, table).trained.weights
        assert [name for name in clean if not torch.equal(weights[name], clean[name])], table
