"""The paper's skip layer: a step that went wrong is run again around the suspects (design 4.10)."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
import torch
from harness import SETTLES, SMALL, When, attack, small_folder
from torch import Tensor

from conftest import MakeModel
from oracle import Case, Trained, train_pipeline
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import COORDINATOR, Direction, Role, Slot
from shieldwall.core.messages import Play, StageState
from shieldwall.core.statements import Halt, Refusal
from shieldwall.schedule import TOPOLOGIES, Topology
from shieldwall.verify.duplicate import DuplicateGuard

SIX = replace(SMALL, stages=6, layers=6, cut=(1, 1, 1, 1, 1, 1), micro_batches=2, respond="skip")
"""worker-1 to worker-4 hold stages 1 to 4; each checks the stage before its own, the initiator checks 4."""


def assert_copies_agree(trained: Trained, case: Case) -> None:
    """Stage and duplicate have the same parameters, moments and counters."""
    for stage in case.checkers:
        held, copied = trained.copies[Role.STAGE, stage], trained.copies[Role.DUPLICATE, stage]
        assert _tensors(held).keys() == _tensors(copied).keys()
        for name, tensor in _tensors(held).items():
            assert torch.equal(tensor, _tensors(copied)[name]), name


def _tensors(state: StageState) -> dict[str, Tensor]:
    moments = {f"{name}/{key}": kept for name, of in state.moments.items() for key, kept in of.items()}
    return {**state.parameters, **moments}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_a_liar_is_left_out_with_its_neighbours(
    make_model: MakeModel, topology: Topology, when: When, direction: str, stage: int
) -> None:
    """In a star one neighbour is suspect, in a chain two; the initiator, who checks stage 4, never is."""
    case = replace(SIX, when=when, topology=topology)
    table = {"kind": "sign_flip", "stage": stage, "direction": direction, "rate": 1.0, "seed": 3}
    attacked = attack(case, make_model, table)
    trained = attacked.trained
    assert {verdict.culprit for verdict in trained.verdicts} == {f"worker-{stage}"}
    near = (stage, stage + 1) if topology == "star" else (stage - 1, stage, stage + 1)
    suspects = {f"worker-{each}" for each in near if 1 <= each <= 4}
    for course in trained.courses:
        assert course.abandoned == 1
        assert set(course.left_out) == suspects
        assert set(course.bypassed) == {int(name.removeprefix("worker-")) for name in suspects}
    assert_copies_agree(trained, case)
    assert list(chain.from_iterable(course.result.rerun for course in trained.courses)) == []
    clean = train_pipeline(replace(case, hooks_of={}), small_folder(make_model, case))
    assert clean.verdicts == []
    assert not any(course.abandoned for course in clean.courses)
    assert not all(torch.equal(tensor, trained.weights[name]) for name, tensor in clean.weights.items())


@pytest.mark.parametrize("kind", ["wrong_gradient", "wrong_update"])
def test_who_updates_wrongly_is_left_out_too(make_model: MakeModel, kind: str) -> None:
    attacked = attack(SIX, make_model, {"kind": kind, "stage": 2, "rate": 1.0})
    for course in attacked.trained.courses:
        assert course.bypassed == (1, 2, 3)
    assert_copies_agree(attacked.trained, SIX)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize(
    "table",
    [
        {"kind": "malformed", "form": "shape"},
        {"kind": "malformed", "form": "nan", "direction": "backward"},
        {"kind": "equivocate"},
        {"kind": "input_lie"},
        {"kind": "false_accusation"},
        {"kind": "replay"},
    ],
    ids=lambda table: "-".join(map(str, table.values())),
)
def test_whatever_is_said_or_sent_the_run_ends_around_it(
    make_model: MakeModel, topology: Topology, when: When, table: dict[str, str]
) -> None:
    case = replace(SIX, when=when, topology=topology)
    trained = attack(case, make_model, {**table, "stage": "worker-3", "rate": 1.0}).trained
    struck = [course for course in trained.courses if course.abandoned]
    assert struck
    assert all("worker-3" in course.left_out for course in struck)
    assert_copies_agree(trained, case)


def test_a_stage_that_is_left_out_keeps_its_state(make_model: MakeModel) -> None:
    """Nothing of it moves: not the weights, not the moments, not the decay. Stage 4 is there, and learns, because the
    initiator checks it; nobody is left between."""
    attacked = attack(SIX, make_model, {"kind": "sign_flip", "stage": 2, "rate": 1.0, "direction": "forward"})
    trained = attacked.trained
    start = train_pipeline(replace(SIX, hooks_of={}, steps=1, peak_learning_rate=1e-30), small_folder(make_model, SIX))
    for stage in (1, 2, 3):
        assert trained.copies[Role.STAGE, stage].moments == {}
    assert trained.copies[Role.STAGE, 4].moments != {}
    moved = {
        name.split(".")[2]
        for name, tensor in start.weights.items()
        if ".h." in name and not torch.allclose(tensor, trained.weights[name], rtol=0, atol=1e-12)
    }
    assert moved == {"0", "4", "5"}


class LiesUnwatched(Hook):
    """Honest in a step's first attempt, in which its own checker watches."""

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return activation_BTD if border.slot.attempt == 0 else -activation_BTD


def test_who_takes_part_without_a_checker_is_checked_by_the_initiator(make_model: MakeModel) -> None:
    """worker-3 sacrifices itself: 2, 3 and 4 are left out, and with worker-2 the checker of its accomplice worker-1,
    who lies from then on."""
    case = replace(SIX, hooks_of={"worker-1": [LiesUnwatched()]})
    attacked = attack(case, make_model, {"kind": "sign_flip", "stage": 3, "rate": 1.0, "direction": "forward"})
    trained = attacked.trained
    for step, course in enumerate(trained.courses):
        named = [(each.attempt, each.culprit, each.accuser) for each in trained.verdicts if each.step == step]
        assert set(named) == {(0, "worker-3", "worker-4"), (1, "worker-1", "initiator")}
        assert course.bypassed == (1, 2, 3, 4)
        assert course.abandoned == 2
    assert_copies_agree(trained, case)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("kind", [Halt, Refusal])
def test_who_stops_a_micro_batch_before_there_is_work_is_left_out(
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    topology: Topology,
    when: When,
    kind: type[Halt] | type[Refusal],
) -> None:
    """worker-2 speaks, as soon as a lane begins, about the last micro-batch's way back: nothing is there to judge."""
    begin = DuplicateGuard.begin

    def hasty(guard: DuplicateGuard, play: Play) -> None:
        begin(guard, play)
        if guard.name != "worker-2":
            return
        slot = Slot(
            run=play.run,
            view=play.view,
            attempt=play.attempt,
            step=play.step,
            micro_batch=SIX.micro_batches - 1,
            direction=Direction.BACKWARD,
            stage=2 if kind is Halt else 3,
        )
        halt = Halt(slot=slot, root_in="ab" * 32, what="a gradient")
        guard._say(COORDINATOR, halt if kind is Halt else Refusal(slot=slot, sender="worker-3", reason="made up"))

    monkeypatch.setattr(DuplicateGuard, "begin", hasty)
    case = replace(SIX, when=when, topology=topology)
    trained = train_pipeline(case, small_folder(make_model, case))
    assert len(trained.courses) == case.steps
    for course in trained.courses:
        assert course.abandoned == 1
        assert "worker-2" in course.left_out
    assert {verdict.culprit for verdict in trained.verdicts} <= {"worker-2"}
    assert_copies_agree(trained, case)
