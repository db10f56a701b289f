"""Guarantee G4: at any rate up to 1.0 the weights are those of the clean run, and nothing runs twice without need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from harness import SETTLES, SMALL, When, attack, small_folder

from conftest import MakeModel
from oracle import Case, Trained, assert_bit_equal, train_reference
from shieldwall.attacks import place_attacks, read_attack
from shieldwall.core.ids import Direction, Slot

RATES = [0.3, 0.5, 0.7, 1.0]


@cache
def clean_weights(folder: Path) -> Trained:
    """Of the plain loop: whatever is attacked and however it is settled, it is the same."""
    return train_reference(SMALL, folder)


def pairs_hit(case: Case, table: Mapping[str, Any]) -> set[tuple[int, int]]:
    """Step and micro-batch of every slot that the attack falsifies in the first attempt."""
    placed = place_attacks(
        [read_attack(dict(table), "attack")],
        stages=case.stages,
        holders=case.holders,
        workers=case.worker_names,
        seed=case.seed,
    )
    hit = set()
    for step in range(case.steps):
        for micro_batch in range(case.micro_batches):
            for direction in (Direction.FORWARD, Direction.BACKWARD):
                for stage in range(1, case.stages - 1):
                    slot = Slot(
                        run="test",
                        view=0,
                        attempt=0,
                        step=step,
                        micro_batch=micro_batch,
                        direction=direction,
                        stage=stage,
                    )
                    if placed[0].aim.hits_work(case.holders[stage], slot):
                        hit.add((step, micro_batch))
    return hit


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("who", [2, "random"], ids=["named", "transient"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("when", SETTLES)
def test_no_attack_changes_a_bit(
    when: When, rate: float, who: int | str, direction: str, make_model: MakeModel
) -> None:
    case = replace(SMALL, when=when, schedule="1f1b" if rate in (0.3, 0.7) else "gpipe")
    table = {"kind": "sign_flip", "stage": who, "rate": rate, "direction": direction, "seed": 29}
    hit = pairs_hit(case, table)
    trained = attack(case, make_model, table).trained
    expected = clean_weights(small_folder(make_model))
    assert_bit_equal(trained.weights, expected.weights)
    assert trained.losses == expected.losses
    assert {(verdict.step, verdict.micro_batch) for verdict in trained.verdicts} == hit
    if when == "before_use":
        assert trained.rerun == 0
    else:
        assert 0 < trained.rerun <= len(hit)


@pytest.mark.parametrize("kind", ["sign_flip", "wrong_gradient", "wrong_update"])
def test_lies_are_repaired_where_each_stage_is_clipped_by_itself(kind: str, make_model: MakeModel) -> None:
    """Whose update is repeated, it is repeated with the factor of its own stage."""
    case = replace(SMALL, clip_by="stage", clip_norm=0.2)
    trained = attack(case, make_model, {"kind": kind, "stage": 2}).trained
    folder = small_folder(make_model)
    assert trained.verdicts
    assert_bit_equal(trained.weights, train_reference(case, folder).weights)
    factors = [set(step.clip_coefficients.values()) for step in trained.record.commits]
    assert all(len(of_a_step) > 1 for of_a_step in factors)
