"""The limit of a check by neighbours, stated as a test: two of them who agree on a lie are not seen.

Once with hooks written here, where they falsify the update too, and once as a configuration names them, `collude`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from harness import SETTLES, SMALL, When, assert_repaired, assert_silent, attack, culprits, small_folder
from torch import Tensor

from conftest import MakeModel
from oracle import train_pipeline
from shieldwall.core.hooks import Border, Hook, Update
from shieldwall.core.ids import Role

STAGE = 2


class Liar(Hook):
    """Holds the stage: sends on twice what it made, and learns from the negative of its gradients."""

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return activation_BTD * 2 if border.slot.stage == STAGE else activation_BTD

    async def before_prepare(self, update: Update, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return _negated(gradients) if (update.stage, update.role) == (STAGE, Role.STAGE) else gradients


class Accomplice(Hook):
    """Holds the duplicate: always agrees, and lets its copy follow."""

    async def after_check(self, border: Border, agrees: bool) -> bool:
        return agrees or border.slot.stage == STAGE

    async def before_prepare(self, update: Update, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return _negated(gradients) if (update.stage, update.role) == (STAGE, Role.DUPLICATE) else gradients


def _negated(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: -gradient for name, gradient in gradients.items()}


@pytest.mark.parametrize("when", SETTLES)
def test_two_adjacent_colluders_pass(when: When, make_model: MakeModel) -> None:
    """No verdict, no alert, other weights: secret audits by a third party are what would see it."""
    folder = small_folder(make_model)
    case = replace(SMALL, when=when)
    clean = train_pipeline(case, folder)
    trained = train_pipeline(replace(case, hooks_of={"worker-2": [Liar()], "worker-3": [Accomplice()]}), folder)
    assert_silent(trained)
    assert [name for name in clean.weights if not torch.equal(trained.weights[name], clean.weights[name])]


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("alone", ["worker-2", "worker-3"])
def test_one_of_them_alone_does_not(when: When, alone: str, make_model: MakeModel) -> None:
    hook: Hook = Liar() if alone == "worker-2" else Accomplice()
    trained = train_pipeline(replace(SMALL, when=when, hooks_of={alone: [hook]}), small_folder(make_model))
    assert culprits(trained) == {alone}


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("whom", [STAGE, "random"])
def test_the_kind_collude_passes(whom: int | str, direction: str, when: When, make_model: MakeModel) -> None:
    """Liar and accomplice act by one table.

    A transient one may be found where the initiator is its checker; this seed draws stages 1 and 2 alone.
    """
    case = replace(SMALL, when=when)
    folder = small_folder(make_model)
    attacked = attack(case, make_model, {"kind": "collude", "stage": whom, "direction": direction, "seed": 1})
    liars = {"worker-1", "worker-2"} if whom == "random" else {"worker-2"}
    assert {worker for worker, _ in attacked.log.struck} == liars | {f"worker-{int(name[-1]) + 1}" for name in liars}
    assert_silent(attacked.trained)
    clean = train_pipeline(case, folder)
    assert [name for name in clean.weights if not torch.equal(attacked.trained.weights[name], clean.weights[name])]


@pytest.mark.parametrize("when", SETTLES)
def test_where_the_initiator_checks_there_is_no_accomplice(when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when)
    attacked = attack(case, make_model, {"kind": "collude", "stage": 3})
    assert culprits(attacked.trained) == {"worker-3"} == {worker for worker, _ in attacked.log.struck}
    assert_repaired(attacked.trained, case, make_model)


@pytest.mark.parametrize("when", SETTLES)
def test_an_accomplice_alone_does_not_hide_another_s_lie(when: When, make_model: MakeModel) -> None:
    """Story: who covers stage 2 still checks and reports a lie about any other stage that it repeats."""
    case = replace(SMALL, when=when)
    tables = [{"kind": "collude", "stage": 2, "rate": 0.0}, {"kind": "scale", "stage": 2}]
    attacked = attack(case, make_model, *tables)
    assert culprits(attacked.trained) == {"worker-2"}
    assert_repaired(attacked.trained, case, make_model)
