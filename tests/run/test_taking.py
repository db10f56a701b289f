"""Who takes nothing of what is sent to it fills its line, and others wait behind it: it is gone after a while."""

from __future__ import annotations

import asyncio

import torch

from shieldwall.core.messages import StageState, StateReport
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.run.machines.taking import Taking
from shieldwall.schedule import equal_slots
from shieldwall.transport.codec import pack
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import Link

LETTER = Letter(
    "ash", "birch", pack(StateReport(host="ash", stage=1, state=StageState(parameters={"w": torch.ones(9)})))
)


def look(measured: Taking, link: Link, clock: list[float], seconds: float, step_s: float = 0.1) -> float:
    """How long it has been idle, after so many seconds of looking."""
    idle_s = measured.idle_s(link)
    for _ in range(round(seconds / step_s)):
        clock.append(clock[-1] + step_s)
        idle_s = measured.idle_s(link)
    return idle_s


def test_only_a_line_on_which_something_waits_is_idle() -> None:
    clock = [0.0]
    measured = Taking(Deadlines(costs=equal_slots(4)), lambda: clock[-1])
    link = Link("birch", lambda _: 1 << 20)
    assert look(measured, link, clock, 100.0) == 0.0
    asyncio.run(link.send(LETTER))
    assert not measured.is_over(look(measured, link, clock, 59.0))
    assert measured.is_over(look(measured, link, clock, 2.0))
    link.sent_bytes += 1 << 20  # a part of it has gone
    assert measured.idle_s(link) == 0.0


def test_an_initiator_that_stood_still_measures_nothing() -> None:
    clock = [0.0]
    measured = Taking(Deadlines(costs=equal_slots(4)), lambda: clock[-1])
    link = Link("birch", lambda _: 1 << 20)
    asyncio.run(link.send(LETTER))
    assert look(measured, link, clock, 3600.0, step_s=1800.0) <= 1.0
