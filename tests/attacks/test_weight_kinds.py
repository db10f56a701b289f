"""Kinds that save work or compute with other weights than those in force."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from worker_day import HOST, Event, at, day, fingerprint, hook_of, live, placed, random_tensor, slot_of

from shieldwall.attacks.memory import Memory
from shieldwall.core.hooks import Border
from shieldwall.core.ids import Direction
from shieldwall.core.messages import StageState


def states_by_step(events: list[Event]) -> dict[int, Mapping[str, Tensor]]:
    """What was in force in each step of the day: as handed over, then as committed."""
    handed = next(event.returned[0] for event in events if event.point == "before_hold")
    commits = {event.step: event.returned for event in events if event.point == "before_commit" and event.stage == 2}
    return {0: handed.parameters, **{step + 1: state.parameters for step, state in commits.items()}}


@pytest.mark.parametrize("delay", [1, 2])
def test_stale_weights_are_those_of_an_older_step(delay: int) -> None:
    """And the base under them is what it always is; before there are older ones the pass is honest."""
    events = day("stale_weights", delay=delay)
    in_force = states_by_step(events)
    computed = [event for event in events if event.point == "before_compute"]
    for event in computed:
        assert event.changed == (event.step >= delay)
        used = in_force[event.step - delay if event.changed else event.step]
        base = {"base": event.given["base"]}
        assert fingerprint(event.returned) == fingerprint({**used, **base})
    assert {event.step for event in computed if event.changed} == set(range(delay, 4))


def test_a_delay_that_no_step_reaches_is_no_attack() -> None:
    hook, log = hook_of(placed("stale_weights", delay=9))
    assert not any(event.changed for event in live(hook))
    assert log.fired == 0


def test_only_as_many_states_are_kept_as_the_delay_asks_for() -> None:
    memory = Memory(2)
    states = [
        StageState(parameters={"w": torch.tensor(float(n))}, moments={"w": {"exp_avg": torch.tensor(1.0)}})
        for n in range(5)
    ]
    memory.begin_states(1, states[0])
    for state in states[1:]:
        memory.keep_state(1, state)
    assert memory.state_in_force(1) is states[4]
    for back in (1, 2):
        older = memory.older_state(1, back)
        assert older is not None
        assert older.parameters is states[4 - back].parameters
        assert older.moments == {}
    assert memory.older_state(1, 3) is None
    memory.begin_states(1, states[0])
    assert memory.older_state(1, 1) is None


def test_skipping_sends_on_what_came_in() -> None:
    """Forward the activation, backward the gradient."""
    events = day("lazy", form="skip")
    for way in ("forward", "backward"):
        came_in = [event.given for event in events if event.point == f"before_{way}"]
        sent_on = [event.returned for event in events if event.point == f"after_{way}"]
        assert [fingerprint(tensor) for tensor in sent_on] == [fingerprint(tensor) for tensor in came_in]


def test_weights_are_rounded_to_bfloat16() -> None:
    for event in at(day("lazy", form="bfloat16"), "before_compute"):
        for name, weight in event.given.items():
            rounded = event.returned[name]
            assert rounded.dtype == weight.dtype
            assert not rounded.view(torch.int32).bitwise_and(0xFFFF).any(), "float32 with 16 bits that say nothing"
            assert float(((rounded - weight) / weight).abs().max()) <= 2.0**-8


def test_weights_are_rounded_to_int8_by_row() -> None:
    for event in at(day("lazy", form="int8"), "before_compute"):
        for name, weight in event.given.items():
            rows, rounded = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (weight, event.returned[name]))
            for row, after in zip(rows, rounded, strict=True):
                step = row.abs().max() / 127
                levels = after / step
                torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
                assert float(levels.abs().max()) == pytest.approx(127, abs=1e-3)
                assert float((after - row).abs().max()) <= float(step) * 0.5001


def test_a_row_of_zeros_stays_and_a_type_is_kept() -> None:
    hook, log = hook_of(placed("lazy", form="int8"))
    border = Border(host=HOST, slot=slot_of(0, 0, Direction.FORWARD))
    weights = {"zeros": torch.zeros(3, 4), "short": random_tensor(1, shape=(2, 2)).to(torch.bfloat16)}
    rounded = asyncio.run(hook.before_compute(border, weights))
    assert torch.equal(rounded["zeros"], weights["zeros"])
    assert rounded["short"].dtype == torch.bfloat16
    assert not torch.equal(rounded["short"], weights["short"])
    assert log.fired == 1


def test_a_frozen_stage_keeps_its_weights() -> None:
    events = day("lazy", form="frozen")
    assert {event.point for event in events if event.changed} == {"after_prepare"}
    handed: StageState = next(event.returned[0] for event in events if event.point == "before_hold")
    for event in at(events, "after_prepare"):
        assert fingerprint(event.returned.parameters) == fingerprint(handed.parameters)
