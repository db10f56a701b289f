"""A pass with other weights than those in force: as if the stage had them, for that pass alone, and without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import MakeModel
from oracle import Case, assert_bit_equal, train_pipeline
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import Direction, Role
from shieldwall.core.messages import Assign
from shieldwall.lab.small_run import model_settings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.span import even_cut, spans_of
from shieldwall.pipeline.holdings import Held, HostSettings, build_held
from shieldwall.run.states import Origin, stage_states

SMALL = Case(family="gpt2", stages=3, layers=3, micro_batches=2, steps=2, batch=2, block_tokens=8)
STAGE = 1
FAMILIES = pytest.mark.parametrize("family", ["gpt2", "llama"])
CHECKPOINTING = pytest.mark.parametrize("recompute", [False, True])
LORA = pytest.mark.parametrize("rank", [0, 2])


def held_stage(case: Case, folder: Path, weights: Mapping[str, Tensor] | None = None) -> Held:
    """The middle stage, with `weights` in the place of its own where they are given."""
    model = model_settings(case, case.config(folder))
    settings = HostSettings(
        model=model,
        seed=case.seed,
        device=torch.device("cpu"),
        optimizer=case.optimizer,
        gradient_checkpointing=case.gradient_checkpointing,
    )
    spans = spans_of(even_cut(case.layers, case.stages))
    holding = list(stage_states(build_skeleton(model), spans, Origin(base=folder, seed=case.seed)))[STAGE]
    state, frozen = holding.state, holding.frozen
    if weights is not None:
        state = replace(state, parameters={name: weights[name] for name in state.parameters})
        frozen = {name: weights[name] for name in frozen}
    held = build_held(
        settings,
        Assign(
            stage=STAGE,
            stages=case.stages,
            role=Role.STAGE,
            first_layer=holding.span.first,
            last_layer=holding.span.last,
            state=state,
            frozen=frozen,
        ),
    )
    held.stage.model.set_training(True)
    return held


def moved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: weight + torch.randn(weight.shape, generator=generator) / 50 for name, weight in weights.items()}


@dataclass(frozen=True)
class Passes:
    """What a stage made of one micro-batch."""

    output: Tensor
    sent_back: Tensor
    gradients: dict[str, Tensor]


def pass_through(held: Held, forward: Mapping[str, Tensor] | None, backward: Mapping[str, Tensor] | None) -> Passes:
    stage, generator = held.stage, torch.Generator().manual_seed(2)
    entry, gradient = (torch.randn((2, 8, 32), generator=generator) for _ in range(2))
    with stage.computing_with(forward):
        output = stage.forward(0, 0, entry, training=True)
    with stage.computing_with(backward):
        sent_back = stage.backward(0, gradient)
    assert sent_back is not None
    return Passes(output, sent_back, {name: each.clone() for name, each in stage.gradients().items()})


@FAMILIES
@CHECKPOINTING
@LORA
def test_a_pass_is_as_if_the_stage_had_the_weights(
    family: str, recompute: bool, rank: int, make_model: MakeModel
) -> None:
    """Bit for bit that of a stage which was handed them, with dropout; the other pass of the micro-batch is honest."""
    folder = make_model(family, 3)
    case = replace(SMALL, family=family, gradient_checkpointing=recompute, lora_rank=rank)
    other = moved(held_stage(case, folder).stage.weights())
    own, theirs = (pass_through(held_stage(case, folder, weights), None, None) for weights in (None, other))
    assert not torch.equal(own.output, theirs.output)
    assert not torch.equal(own.sent_back, theirs.sent_back)
    for forward, backward in ((None, other), (other, None), (other, other)):
        held = held_stage(case, folder)
        in_force = held.stage.weights()
        found = pass_through(held, forward, backward)
        assert torch.equal(found.output, (theirs if forward else own).output)
        assert torch.equal(found.sent_back, (theirs if backward else own).sent_back)
        assert_bit_equal(found.gradients, (theirs if backward else own).gradients)
        assert all(same_memory(held, name, in_force) for name in in_force)


def same_memory(held: Held, name: str, weights: Mapping[str, Tensor]) -> bool:
    return held.stage.weights()[name].data_ptr() == weights[name].data_ptr()


def test_what_is_in_force_is_told_and_kept_while_others_are_used(make_model: MakeModel) -> None:
    """Whoever asks for the state meanwhile gets the true one; a pass that raises leaves it in force."""
    held = held_stage(SMALL, make_model("gpt2", 3))
    in_force = held.stage.weights()
    copies = {name: weight.clone() for name, weight in in_force.items()}
    with held.stage.computing_with(moved(in_force)):
        assert_bit_equal(dict(held.update.committed.parameters), copies)
    with pytest.raises(RuntimeError, match="expected input with shape"), held.stage.computing_with(moved(in_force)):
        held.stage.forward(0, 0, torch.zeros(2, 8, 5), training=True)
    assert all(same_memory(held, name, in_force) for name in in_force)
    assert_bit_equal(held.stage.weights(), copies)


class OtherWeights(Hook):
    """Computes with copies of the weights, moved in some directions, and notes what it was asked."""

    def __init__(self, *directions: Direction) -> None:
        self._directions = directions
        self.asked: list[tuple[Direction, int, int]] = []

    async def before_compute(self, border: Border, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        slot = border.slot
        self.asked.append((slot.direction, slot.stage, slot.micro_batch))
        return moved(weights) if slot.direction in self._directions else {n: w.clone() for n, w in weights.items()}


@FAMILIES
@CHECKPOINTING
@pytest.mark.parametrize("host", ["initiator", "worker-1"])
def test_copies_of_the_weights_change_no_bit(family: str, recompute: bool, host: str, make_model: MakeModel) -> None:
    """In every pass, the first and the last stage's too, tied head and dropout included."""
    folder = make_model(family, 3)
    case = replace(SMALL, family=family, gradient_checkpointing=recompute)
    hook = OtherWeights()
    found = train_pipeline(replace(case, hooks_of={host: [hook]}), folder)
    clean = train_pipeline(case, folder)
    assert_bit_equal(found.weights, clean.weights)
    assert found.losses == clean.losses
    stages = (STAGE,) if host == "worker-1" else (0, 2)
    both = (Direction.FORWARD, Direction.BACKWARD)
    assert set(hook.asked) == {(way, stage, part) for way in both for stage in stages for part in range(2)}
    assert len(hook.asked) == len(set(hook.asked)) * case.steps


@pytest.mark.parametrize("way", [Direction.FORWARD, Direction.BACKWARD])
def test_a_hook_decides_what_a_pass_computes_with(way: Direction, make_model: MakeModel) -> None:
    folder = make_model("gpt2", 3)
    clean = train_pipeline(SMALL, folder)
    other = train_pipeline(replace(SMALL, hooks_of={"worker-1": [OtherWeights(way)]}), folder)
    changed = {name for name, weight in clean.weights.items() if not torch.equal(weight, other.weights[name])}
    assert changed
    assert (other.losses[0] != clean.losses[0]) == (way is Direction.FORWARD)
