"""A host whose computation leaves the event loop free hears and answers meanwhile: nobody waits for it without need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from conftest import MakeModel
from oracle import Case, assert_bit_equal, train_pipeline, train_reference
from shieldwall.schedule import Action

T = TypeVar("T")
CASE = Case(
    family="gpt2", stages=5, layers=5, micro_batches=2, steps=1, batch=1, block_tokens=8, when="before_use", dropout=0.0
)
WAITS_S = 60.0
"""Only a run that hangs comes to it."""


class Gate:
    """Holds computations back: "ends X": "Y" lets X end once Y has ended, "begins X": "Y" once Y has begun."""

    leaves_loop = True

    def __init__(self, begun: dict[str, asyncio.Event], ended: dict[str, asyncio.Event], held: dict[str, str]) -> None:
        self.begun, self.ended, self.held = begun, ended, held

    async def run(self, action: Action, work: Callable[[], T]) -> T:
        text = str(action)
        self.begun.setdefault(text, asyncio.Event()).set()
        for table, mark in ((self.begun, "begins "), (self.ended, "ends ")):
            until = self.held.get(mark + text)
            if until:
                async with asyncio.timeout(WAITS_S):
                    await table.setdefault(until, asyncio.Event()).wait()
        result = work()
        self.ended.setdefault(text, asyncio.Event()).set()
        return result


def test_a_header_that_comes_during_a_pass_is_settled_during_it(make_model: MakeModel) -> None:
    """The initiator has checked stage 3's first gradient before its header comes, and is in its next pass by then.

    That pass goes on until stage 2 has begun to use the gradient, which it may only once the initiator has settled it.
    """
    folder = make_model(CASE.family, CASE.layers, 16)
    begun: dict[str, asyncio.Event] = {}
    ended: dict[str, asyncio.Event] = {}
    held = {"ends B3.0": "E3.0", "begins B4.1": "B2.0"}  # by the plan, E3.0 comes before B4.1 on the initiator
    gate = Gate(begun, ended, held)
    trained = train_pipeline(replace(CASE, compute_of=lambda _: gate), folder)
    assert {*held.values()} <= ended.keys()
    assert trained.verdicts == []
    assert_bit_equal(trained.weights, train_reference(CASE, folder).weights)
