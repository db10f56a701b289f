"""How often the coordinator waits in a step that is not checked: over long lines each time is a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
import torch

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import (
    Assign,
    Assigned,
    Commit,
    Committed,
    Discard,
    Discarded,
    Gone,
    Message,
    Play,
    Played,
    Prepare,
    Prepared,
    StageState,
)
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.coordinator import Coordinator, StepWork
from shieldwall.pipeline.desk import HostsLost
from shieldwall.schedule import make_plan, usual_hosts
from shieldwall.transport import Endpoint, MemoryNetwork

STAGES = 3
PLAN = make_plan("gpipe", STAGES, 2, usual_hosts(STAGES))
HOSTS = [lane.host for lane in PLAN.lanes]
OWNER = HOSTS[0]
"""Has the only parameter."""


def work(step: int) -> StepWork:
    return StepWork(plan=PLAN, step=step, learning_rate=0.1)


class Obedient:
    """A host that answers every order; what it owes for a commit it says when it is told to play the next step."""

    def __init__(self, end: Endpoint) -> None:
        self._end = end
        self._late: list[Committed] = []
        self.orders: list[Message] = []

    async def serve(self) -> None:
        while True:
            order = await self._end.receive()
            self.orders.append(order)
            for answer in self._answers(order):
                await self._end.send(COORDINATOR, answer)

    def _answers(self, order: Message) -> Sequence[Message]:
        host = self._end.name
        if isinstance(order, Assign):
            return [Assigned(host=host, stage=order.stage, role=order.role)]
        if isinstance(order, Play):
            late, self._late = self._late, []
            losses = {m: torch.tensor(1.0) for m in range(PLAN.micro_batches)}
            norms: Mapping[str, torch.Tensor] = {"weight": torch.tensor(2.0)} if host == OWNER else {}
            return [
                *late,
                Played(host=host, step=order.step, attempt=order.attempt, losses=losses, work=(), norms=norms),
            ]
        if isinstance(order, Prepare):
            return [Prepared(host=host, step=order.step, seals=())]
        if isinstance(order, Commit):
            self._late.append(Committed(host=host, step=order.step))
        return [Discarded(host=host, step=order.step)] if isinstance(order, Discard) else []

    def says_late(self) -> Sequence[Message]:
        """What it owes."""
        late, self._late = self._late, []
        return late


class Stand:
    """A coordinator and its hosts."""

    def __init__(self) -> None:
        network = MemoryNetwork()
        self.own = network.join(COORDINATOR)
        self.coordinator = Coordinator(self.own, "test", {"weight": 0}, Clipping(norm=0.0, by="model"))
        self.ends = {name: network.join(name) for name in HOSTS}
        self.hosts = {name: Obedient(end) for name, end in self.ends.items()}

    async def __aenter__(self) -> Stand:
        self._serving = [asyncio.create_task(host.serve()) for host in self.hosts.values()]
        for stage in range(STAGES):
            span = StageSpan(stage, STAGES, stage, stage + 1)
            await self.coordinator.assign(PLAN.host_of(stage), span, StageState(parameters={}))
        for host in self.hosts.values():
            host.orders.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def kinds(self, name: str) -> list[type[Message]]:
        return [type(order) for order in self.hosts[name].orders]


def test_a_step_waits_for_two_answers_and_the_next_one_does_not_wait_for_the_commit() -> None:
    """No host has said that it committed when the next order to play comes; all have when the step after it ends."""

    async def play() -> None:
        async with Stand() as stand:
            results = [await stand.coordinator.step(work(step)) for step in range(3)]
            await asyncio.sleep(0)
            assert [result.gradient_norm for result in results] == [2.0, 2.0, 2.0]
            for name in HOSTS:
                assert stand.kinds(name) == 3 * [Play, Prepare, Commit]
                for report in stand.hosts[name].says_late():
                    await stand.ends[name].send(COORDINATOR, report)
            await stand.coordinator.settle()
            await stand.coordinator.settle()  # nobody owes anything any more

    asyncio.run(asyncio.wait_for(play(), 30))


def test_who_is_lost_after_the_commit_is_found_by_the_next_step_and_not_waited_for() -> None:
    async def play() -> None:
        async with Stand() as stand:
            await stand.coordinator.step(work(0))
            lost = HOSTS[-1]
            await stand.own.send(COORDINATOR, Gone(host=lost, silent_s=2.0))
            with pytest.raises(HostsLost, match=lost):
                await stand.coordinator.step(work(1))
            assert set(stand.coordinator.lost) == {lost}
            for name in set(HOSTS) - {lost}:
                assert stand.kinds(name)[3:] == [Play, Discard]
            await stand.coordinator.settle()

    asyncio.run(asyncio.wait_for(play(), 30))
