"""Hooks: called at every border in the stated order, able to change what crosses, and free when absent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from conftest import MakeModel
from oracle import Case, assert_bit_equal, train_pipeline
from shieldwall.core.errors import TransportError
from shieldwall.core.hooks import Border, Hook, Update
from shieldwall.core.ids import Direction
from shieldwall.core.messages import StageState


class Recorder(Hook):
    """Notes every call and changes nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def note(self, name: str, border: Border) -> None:
        self.calls.append((name, border.slot.stage, border.slot.micro_batch))

    async def before_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        self.note("before_forward", border)
        return activation_BTD

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        assert border.slot.direction is Direction.FORWARD
        self.note("after_forward", border)
        return activation_BTD

    async def before_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        self.note("before_backward", border)
        return gradient_BTD

    async def after_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        assert border.slot.direction is Direction.BACKWARD
        self.note("after_backward", border)
        return gradient_BTD

    async def before_prepare(self, update: Update, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.calls.append(("before_prepare", update.stage, -1))
        return gradients

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        self.calls.append(("after_prepare", update.stage, -1))
        return prepared

    async def before_commit(self, update: Update, prepared: StageState) -> StageState:
        self.calls.append(("before_commit", update.stage, -1))
        return prepared

    async def after_commit(self, update: Update, state: StageState) -> None:
        self.calls.append(("after_commit", update.stage, -1))


class SignFlip(Hook):
    """Sends the negative of what the stage made, and counts how often."""

    def __init__(self) -> None:
        self.fired = 0

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        self.fired += 1
        return -activation_BTD


class Poison(Hook):
    """Changes the new state after it was prepared."""

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        return StageState(
            parameters={name: tensor + 1.0 for name, tensor in prepared.parameters.items()}, moments=prepared.moments
        )


class HalfTensor(Hook):
    """Breaks the rule that what travels is contiguous."""

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return activation_BTD.transpose(0, 1)


CASE = Case(family="gpt2", stages=3, micro_batches=2, steps=1)


def with_hook(hook: Hook, host: str = "worker-1") -> Case:
    return Case(family="gpt2", stages=3, micro_batches=2, steps=1, hooks_of={host: [hook]})


def test_a_worker_meets_each_border_in_order(make_model: MakeModel) -> None:
    recorder = Recorder()
    case = with_hook(recorder)
    hooked = train_pipeline(case, make_model("gpt2"))
    expected = [(name, 1, m) for m in range(2) for name in ("before_forward", "after_forward")]
    expected += [(name, 1, m) for m in range(2) for name in ("before_backward", "after_backward")]
    expected += [(name, 1, -1) for name in ("before_prepare", "after_prepare", "before_commit", "after_commit")]
    assert recorder.calls == expected
    assert_bit_equal(hooked.weights, train_pipeline(CASE, make_model("gpt2")).weights)


def test_tokens_and_loss_are_no_border(make_model: MakeModel) -> None:
    """The initiator's hook never sees tokens or the loss, only what crosses to a worker."""
    recorder = Recorder()
    case = with_hook(recorder, "initiator")
    train_pipeline(case, make_model("gpt2"))
    assert {(name, stage) for name, stage, m in recorder.calls if m >= 0} == {
        ("after_forward", 0),
        ("before_backward", 0),
        ("before_forward", 2),
        ("after_backward", 2),
    }


def test_a_hook_can_change_what_crosses(make_model: MakeModel) -> None:
    flip = SignFlip()
    case = with_hook(flip)
    attacked = train_pipeline(case, make_model("gpt2"))
    clean = train_pipeline(CASE, make_model("gpt2"))
    assert flip.fired == 2
    assert attacked.losses != clean.losses


def test_a_hook_can_change_the_prepared_state(make_model: MakeModel) -> None:
    case = with_hook(Poison())
    poisoned, clean = train_pipeline(case, make_model("gpt2")), train_pipeline(CASE, make_model("gpt2"))
    changed = {name for name, tensor in clean.weights.items() if not torch.equal(tensor, poisoned.weights[name])}
    assert changed
    assert all(name.startswith(("transformer.h.2.", "transformer.h.3.")) for name in changed)


def test_what_a_hook_returns_must_be_fit_to_travel(make_model: MakeModel) -> None:
    case = with_hook(HalfTensor())
    with pytest.raises(TransportError, match=r"SW-T103: a tensor is not fit to travel"):
        train_pipeline(case, make_model("gpt2"))
