"""Small attacked trainings, and what every test of the shield asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from conftest import MakeModel
from oracle import Case, Trained, assert_bit_equal, train_pipeline, train_reference
from shieldwall.core.hooks import Hook
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.lab.attacked_run import Attacked, train_attacked
from shieldwall.lab.shield_property.laws import named_before_commit
from shieldwall.run.shield import Parties

When = Literal["before_use", "before_commit"]
SETTLES: tuple[When, ...] = ("before_use", "before_commit")

SMALL = Case(family="gpt2", stages=5, layers=5, micro_batches=3, steps=3, batch=1, block_tokens=8, when="before_commit")
"""worker-1 to worker-3 hold stages 1 to 3; worker-2 checks 1, worker-3 checks 2, the initiator checks 3."""


def small_folder(make_model: MakeModel, case: Case = SMALL) -> Path:
    return make_model(case.family, case.layers, 16)


def attack(case: Case, make_model: MakeModel, *tables: Mapping[str, Any]) -> Attacked:
    """Run the attacks; they really happened."""
    attacked = train_attacked(case, tables, small_folder(make_model, case))
    assert attacked.log.fired > 0
    return attacked


def lie(hook: Hook, when: When, make_model: MakeModel) -> Trained:
    """Worker-2 is bad; whatever it does, the weights are those of the clean run."""
    case = replace(SMALL, when=when, hooks_of={"worker-2": [hook]})
    trained = train_pipeline(case, small_folder(make_model))
    assert_repaired(trained, case, make_model)
    return trained


def assert_repaired(trained: Trained, case: Case, make_model: MakeModel) -> None:
    """The weights are the plain loop's, bit for bit, and the clean twin has nothing to say."""
    clean = clean_twin(replace(case, hooks_of={}), small_folder(make_model, case))
    assert_bit_equal(trained.weights, clean.weights)
    assert trained.losses == clean.losses


_CLEAN: dict[tuple[str, Path], Trained] = {}


def clean_twin(case: Case, folder: Path) -> Trained:
    """The case without anybody bad: silent, and the plain loop's weights. Run once; most tests attack the same case."""
    key = (repr(case), folder)
    if key not in _CLEAN:
        clean = train_pipeline(case, folder)
        assert_silent(clean)
        assert_bit_equal(clean.weights, train_reference(case, folder).weights)
        _CLEAN[key] = clean
    return _CLEAN[key]


def assert_silent(trained: Trained) -> None:
    """Nobody was accused, nothing was refused, nothing was done twice."""
    assert trained.verdicts == []
    assert trained.alerts == 0
    assert trained.refusals == []
    assert trained.rerun == 0


def culprits(trained: Trained) -> set[str]:
    return {verdict.culprit for verdict in trained.verdicts}


def found(trained: Trained, direction: CaseDirection, step: int) -> list[Verdict]:
    """Verdicts about one thing in one step, all recorded while the step could still be undone."""
    there = [verdict for verdict in trained.verdicts if (verdict.direction, verdict.step) == (direction, step)]
    assert all(named_before_commit(verdict, trained) for verdict in there)
    return there


def known_parties(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Parties]:
    """The parties of the run that was begun last, for workers that sign more than they should with their own keys."""
    made: list[Parties] = []

    class KnownParties(Parties):
        def __init__(self, names: Iterable[str]) -> None:
            super().__init__(names)
            made.append(self)

    monkeypatch.setattr("shieldwall.lab.small_run.train.Parties", KnownParties)
    return lambda: made[-1]
