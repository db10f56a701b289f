"""A host that is lost while stages are handed out for the first time: the others get theirs, and the first step finds
it. Story: a worker that was banned there ended the run with a traceback."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Assign, Assigned, Gone, StageState, View, Viewed
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.transport import Endpoint, MemoryNetwork

VIEW = View(view=0, holders={0: "ash", 1: "birch", 2: "cedar"}, checkers={}, keys={}, arithmetic="")


async def obey(host: Endpoint, held: list[tuple[str, int]], own: Endpoint, dies_at: type[Any] | None) -> None:
    """A host that answers, or in the place of its answer to one order is reported lost by the coordinator's side."""
    while True:
        order = await host.receive()
        if dies_at and isinstance(order, dies_at):
            await own.send(COORDINATOR, Gone(host=host.name, silent_s=2.0))
        elif isinstance(order, View):
            await host.send(COORDINATOR, Viewed(host=host.name, view=order.view))
        elif isinstance(order, Assign):
            held.append((host.name, order.stage))
            await host.send(COORDINATOR, Assigned(host=host.name, stage=order.stage, role=order.role))


@pytest.mark.parametrize("dies_at", [None, View, Assign])
def test_the_others_get_theirs_and_the_first_step_finds_who_is_lost(dies_at: type[Any] | None) -> None:
    async def play() -> None:
        network = MemoryNetwork()
        own = network.join(COORDINATOR)
        coordinator = Coordinator(own, "test", {}, Clipping(norm=0.0, by="model"))
        held: list[tuple[str, int]] = []
        hosts = [
            asyncio.create_task(obey(network.join(name), held, own, dies_at if name == "birch" else None))
            for name in ("ash", "birch", "cedar")
        ]
        await coordinator.begin(VIEW, ["ash", "birch", "cedar"])
        for stage, name in VIEW.holders.items():
            span = StageSpan(stage, 3, stage, stage + 1)
            await coordinator.place(name, span, StageState(parameters={}))
        for task in hosts:
            task.cancel()
        await asyncio.gather(*hosts, return_exceptions=True)
        assert coordinator.hosts == ["ash", "birch", "cedar"]
        alive = ["ash", "cedar"] if dies_at else ["ash", "birch", "cedar"]
        assert [name for name, _ in held] == alive
        assert set(coordinator.lost) == ({"birch"} if dies_at else set())

    asyncio.run(asyncio.wait_for(play(), 30))
