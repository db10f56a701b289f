"""A step: two phases, finite numbers, and what its parts compute."""

from __future__ import annotations

import asyncio
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from conftest import MakeModel
from oracle import Case, train_pipeline
from shieldwall.core.errors import NonFiniteError, TransportError
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Stop, TensorFrame
from shieldwall.pipeline.clip import clip_coefficient, global_norm
from shieldwall.pipeline.learning_rate import LearningRate
from shieldwall.transport import MemoryNetwork


class Breaks(Hook):
    """Makes one value of one tensor NaN or infinite."""

    def __init__(self, direction: Direction, step: int, value: float) -> None:
        self._direction, self._step, self._value = direction, step, value

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return self._broken(border, activation_BTD)

    async def after_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        return self._broken(border, gradient_BTD)

    def _broken(self, border: Border, tensor: Tensor) -> Tensor:
        if border.slot.direction is not self._direction or border.slot.step != self._step:
            return tensor
        broken = tensor.clone()
        broken.view(-1)[-1] = self._value
        return broken


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.BACKWARD])
def test_the_first_stage_that_is_not_finite_is_named(direction: Direction, value: float, make_model: MakeModel) -> None:
    hooks = {"worker-2": [Breaks(direction, 1, value)]}
    case = Case(family="gpt2", stages=4, micro_batches=3, steps=3, hooks_of=hooks)
    with pytest.raises(NonFiniteError, match=r"SW-N101: stage 2 made an? \w+ that is not finite") as caught:
        train_pipeline(case, make_model("gpt2"))
    assert f"step 1, micro-batch 0, {direction}, stage 2, host worker-2" in str(caught.value)
    assert "changed no weight" in str(caught.value)


def test_overflowing_weight_gradients_name_their_stage(make_model: MakeModel) -> None:
    """The tensors that cross are finite, but their sums are not: the norm of the gradients shows it."""

    class Huge(Hook):
        async def before_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
            return torch.full_like(gradient_BTD, 1e36)

        async def after_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
            return torch.zeros_like(gradient_BTD)

    case = Case(family="gpt2", stages=3, micro_batches=2, steps=1, hooks_of={"worker-1": [Huge()]})
    with pytest.raises(NonFiniteError, match=r"SW-N101: stage 1 made a weight gradient"):
        train_pipeline(case, make_model("gpt2"))


@given(
    norms=st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=20),
    clip_norm=st.floats(0.01, 10.0),
)
def test_clipping_has_the_bits_of_torch(norms: list[float], clip_norm: float) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in norms]
    for parameter, size in zip(parameters, norms, strict=True):
        parameter.grad = torch.tensor([size, 0.5 * size, 0.0])
    names = [str(index) for index in range(len(norms))]
    mine = {
        name: torch.linalg.vector_norm(p.grad) for name, p in zip(names, parameters, strict=True) if p.grad is not None
    }
    norm = global_norm(dict(reversed(mine.items())), names)
    scaled = [p.grad * clip_coefficient(norm, clip_norm) for p in parameters if p.grad is not None]
    expected = torch.nn.utils.clip_grad_norm_(parameters, clip_norm, foreach=False)
    assert torch.equal(norm, expected)
    assert all(torch.equal(a, p.grad) for a, p in zip(scaled, parameters, strict=True) if p.grad is not None)


def test_learning_rates() -> None:
    def rates(shape: str, warmup: int) -> list[float]:
        rate = LearningRate(peak=1.0, warmup_steps=warmup, steps=6, shape=shape)  # type: ignore[arg-type]
        return [round(rate.at(step), 3) for step in range(6)]

    assert rates("constant", 2) == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert rates("linear", 2) == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert rates("cosine", 2) == [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    assert rates("linear", 10) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_memory_transport_hands_tensors_over_without_a_copy() -> None:
    async def story() -> None:
        network = MemoryNetwork()
        sender, receiver = network.join("a"), network.join("b")
        slot = Slot(run="r", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=0)
        tensor = torch.ones(3)
        await sender.send("b", TensorFrame(slot=slot, source="a", destination="b", tensor=tensor))
        frame = await receiver.receive()
        assert isinstance(frame, TensorFrame)
        assert frame.tensor.data_ptr() == tensor.data_ptr()
        with pytest.raises(TransportError, match=r'SW-T101: nobody is called "c"'):
            await sender.send("c", Stop())
        with pytest.raises(TransportError, match=r'SW-T102: a peer called "a" is there already'):
            network.join("a")

    asyncio.run(story())
