"""The paper's baseline: a step in which something was wrong is thrown away and run again as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness import SETTLES, SMALL, When, assert_silent, attack, small_folder

from conftest import MakeModel
from oracle import assert_bit_equal, train_pipeline, train_reference
from shieldwall.core.errors import RunError
from shieldwall.lab.attacked_run import train_attacked
from shieldwall.schedule import TOPOLOGIES, Topology

CASE = replace(SMALL, respond="restart", attempts=40)
TRANSIENT = {"kind": "sign_flip", "stage": "random", "rate": 0.6, "seed": 5, "each_attempt": True}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_in_the_end_the_weights_are_clean(
    make_model: MakeModel, topology: Topology, when: When, direction: str
) -> None:
    case = replace(CASE, when=when, topology=topology)
    trained = attack(case, make_model, {**TRANSIENT, "direction": direction}).trained
    assert sum(course.abandoned for course in trained.courses) > 0
    assert {verdict.rule for verdict in trained.verdicts} == {1}
    clean = train_pipeline(replace(case, hooks_of={}), small_folder(make_model))
    assert_silent(clean)
    assert not any(course.abandoned for course in clean.courses)
    assert_bit_equal(clean.weights, train_reference(case, small_folder(make_model)).weights)
    assert_bit_equal(trained.weights, clean.weights)
    assert trained.losses == clean.losses


@pytest.mark.parametrize("kind", ["wrong_gradient", "wrong_update", "false_accusation", "equivocate", "input_lie"])
def test_whatever_is_wrong_the_step_is_run_again(make_model: MakeModel, kind: str) -> None:
    case = replace(CASE, when="before_commit")
    trained = attack(case, make_model, {**TRANSIENT, "kind": kind}).trained
    assert sum(course.abandoned for course in trained.courses) > 0
    assert_bit_equal(trained.weights, train_reference(case, small_folder(make_model)).weights)


def test_an_attacker_who_never_stops_ends_the_run(make_model: MakeModel) -> None:
    case = replace(CASE, attempts=3)
    with pytest.raises(RunError, match="SW-V203") as raised:
        train_attacked(case, [{"kind": "sign_flip", "stage": 2}], small_folder(make_model))
    assert "3 attempts" in raised.value.got
