"""Complaints that are false, early or endless: nobody honest is blamed, the weights are those of the clean run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness import SETTLES, SMALL, When, assert_repaired, culprits, small_folder
from torch import Tensor

from conftest import MakeModel
from oracle import train_pipeline
from shieldwall.core.errors import RunError
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import COORDINATOR, Direction, Slot
from shieldwall.core.messages import Play
from shieldwall.core.oversight import Correspondence, Findings
from shieldwall.core.statements import Alert, Refusal
from shieldwall.lab.small_run import MemoryRecord
from shieldwall.verify.court import DuplicateOversight
from shieldwall.verify.duplicate import DuplicateGuard

LIAR = "worker-2"


class FalseHalt(Hook):
    """Makes every one of its results infinite, so that its host says that it cannot go on."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.fired = 0

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return self._break(border, activation_BTD)

    async def after_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        return self._break(border, gradient_BTD)

    def _break(self, border: Border, tensor_BTD: Tensor) -> Tensor:
        if border.slot.direction is not self.direction:
            return tensor_BTD
        self.fired += 1
        return tensor_BTD.new_full(tensor_BTD.shape, float("inf"))


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.BACKWARD])
@pytest.mark.parametrize("when", SETTLES)
def test_a_worker_that_always_halts_holds_nobody_up(
    when: When, direction: Direction, schedule: str, make_model: MakeModel
) -> None:
    """Named by rule 1 for each slot, run again once at most, and corrected."""
    hook = FalseHalt(direction)
    case = replace(SMALL, when=when, schedule=schedule, hooks_of={LIAR: [hook]})
    trained = train_pipeline(case, small_folder(make_model))
    pairs = case.steps * case.micro_batches
    assert hook.fired >= pairs
    assert {(v.culprit, v.rule, v.direction.value) for v in trained.verdicts} == {(LIAR, 1, direction.value)}
    assert trained.rerun == (0 if when == "before_use" else pairs)
    assert_repaired(trained, case, make_model)


def complain_early(monkeypatch: pytest.MonkeyPatch, stage: int, kind: type[Alert] | type[Refusal]) -> list[Slot]:
    """Let the liar complain of every slot of `stage` before anything of the pass is made."""
    begin, said = DuplicateGuard.begin, list[Slot]()

    def hasty(guard: DuplicateGuard, play: Play) -> None:
        begin(guard, play)
        for micro_batch in range(SMALL.micro_batches) if guard.name == LIAR else ():
            slot = Slot(
                run=play.run,
                view=play.view,
                attempt=play.attempt,
                step=play.step,
                micro_batch=micro_batch,
                # The first gradients of a step are made long after the first host has begun.
                direction=Direction.BACKWARD if stage else Direction.FORWARD,
                stage=stage,
            )
            said.append(slot)
            if kind is Alert:
                guard._say(COORDINATOR, Alert(slot=slot, root_in="", root_out="00", claimed="11"))
            else:
                guard._say(COORDINATOR, Refusal(slot=slot, sender="worker-1", reason="made up"))

    monkeypatch.setattr(DuplicateGuard, "begin", hasty)
    return said


@pytest.mark.parametrize("when", SETTLES)
def test_an_accusation_before_there_is_work_falls_back_on_the_accuser(
    when: When, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(SMALL, when=when)
    with monkeypatch.context() as patch:
        said = complain_early(patch, 1, Alert)
        trained = train_pipeline(case, small_folder(make_model))
    assert said
    assert culprits(trained) == {LIAR}
    assert_repaired(trained, case, make_model)


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("when", SETTLES)
def test_a_refusal_before_there_is_work_blames_nobody(
    when: When, stage: int, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker's tensor or of the initiator's own."""
    case = replace(SMALL, when=when)
    with monkeypatch.context() as patch:
        said = complain_early(patch, stage, Refusal)
        trained = train_pipeline(case, small_folder(make_model))
    assert said
    assert {refusal.slot.stage for refusal in trained.refusals} == {stage}
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


def test_a_refusal_of_what_was_never_sent_to_one_does_not_count(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of stage 1 goes to the initiator alone."""
    with monkeypatch.context() as patch:
        said = complain_early(patch, 1, Refusal)
        trained = train_pipeline(SMALL, small_folder(make_model))
    assert said
    assert trained.refusals == []
    assert trained.rerun == 0
    assert_repaired(trained, SMALL, make_model)


@pytest.mark.parametrize("when", SETTLES)
def test_a_step_that_never_settles_ends_the_run(
    when: When, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def always_again(oversight: DuplicateOversight, talk: Correspondence) -> Findings:  # noqa: ARG001
        return Findings(again=(0,))

    monkeypatch.setattr(DuplicateOversight, "conclude", always_again)
    record = MemoryRecord()
    with pytest.raises(RunError, match=r"SW-V203: step 0 does not settle") as raised:
        train_pipeline(replace(SMALL, when=when), small_folder(make_model), record)
    assert raised.value.got == "8 attempts, each of which left something to run again"
    assert record.commits == []
