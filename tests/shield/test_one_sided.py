"""Lies that no kind of attack tells: in reports, by overflow at one receiver alone, to the court alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from harness import SETTLES, SMALL, When, culprits, lie
from torch import Tensor

from conftest import MakeModel
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Message, SummedUp

Norms = dict[str, Tensor]


class FalseNorms(Hook):
    """Reports other norms than it signs."""

    def __init__(self, falsify: Callable[[Norms], Norms]) -> None:
        self._falsify = falsify

    async def before_post(self, destination: str, message: Message) -> Message | None:
        del destination
        return replace(message, norms=self._falsify(dict(message.norms))) if isinstance(message, SummedUp) else message


class OneSidedOverflow(Hook):
    """Sends the next host numbers that overflow there, each signed, and the right ones to everybody else."""

    def __init__(self, direction: Direction, receiver: str) -> None:
        self._direction, self._receiver = direction, receiver

    async def before_send(self, border: Border, destination: str, tensor: Tensor) -> Tensor:
        meant = (border.slot.direction, destination) == (self._direction, self._receiver)
        return torch.full_like(tensor, 3e38) * tensor.sign() if meant else tensor


class FalseRecord(Hook):
    """Signs a wrong tensor for the court alone, and sends everybody the right one."""

    def __init__(self) -> None:
        self._right: dict[Slot, Tensor] = {}

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        self._right[border.slot] = activation_BTD
        return activation_BTD * 2

    async def before_send(self, border: Border, destination: str, tensor: Tensor) -> Tensor:
        del destination
        return self._right.get(border.slot, tensor)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("name", ["transformer.wte.weight", "transformer.h.1.attn.c_attn.weight"])
def test_norms_of_other_peoples_stages_are_nobodys_business(name: str, when: When, make_model: MakeModel) -> None:
    trained = lie(FalseNorms(lambda norms: {**norms, name: torch.tensor(99.0)}), when, make_model)
    assert culprits(trained) == set()


@pytest.mark.parametrize("falsify", [Tensor.double, lambda norm: norm.reshape(1)], ids=["float64", "one dimension"])
def test_equal_norms_of_another_form_are_false_norms(
    falsify: Callable[[Tensor], Tensor], make_model: MakeModel
) -> None:
    """In another type the same numbers give another global norm, and so another update."""
    hook = FalseNorms(lambda norms: {name: falsify(norm) for name, norm in norms.items()})
    assert culprits(lie(hook, "before_commit", make_model)) == {"worker-2"}


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize(("direction", "receiver"), [(Direction.FORWARD, "worker-3"), (Direction.BACKWARD, "worker-1")])
def test_who_overflows_on_what_it_alone_was_sent_is_not_blamed(
    direction: Direction, receiver: str, when: When, make_model: MakeModel
) -> None:
    assert culprits(lie(OneSidedOverflow(direction, receiver), when, make_model)) == {"worker-2"}


@pytest.mark.parametrize("when", SETTLES)
def test_a_lie_to_the_court_alone_does_not_stop_the_run(when: When, make_model: MakeModel) -> None:
    trained = lie(FalseRecord(), when, make_model)
    assert culprits(trained) == {"worker-2"}
    assert trained.rerun == (0 if when == "before_use" else SMALL.steps * SMALL.micro_batches)
