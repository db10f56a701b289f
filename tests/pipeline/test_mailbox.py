"""An order counts from when it came in, however late its host gets round to it."""

from __future__ import annotations

import asyncio
import time

import pytest

from shieldwall.core.ids import COORDINATOR, Direction, Slot
from shieldwall.core.messages import Commit, Discard, Message
from shieldwall.pipeline.mailbox import Mailbox, StepDiscarded
from shieldwall.transport import MemoryNetwork


def _later_than(moment_s: float) -> float:
    """A reading of the clock after `moment_s`, however coarse its ticks are."""
    while (now_s := time.perf_counter()) <= moment_s:
        pass
    return now_s


async def _take_late() -> tuple[list[Message], list[float], list[float]]:
    """Two orders, when they had arrived, and the moments around their sending; they are taken after all of those."""
    network = MemoryNetwork()
    host, desk = network.join("ash"), network.join(COORDINATOR)
    mailbox = Mailbox(host)
    moments_s = [time.perf_counter()]
    for step in (1, 2):
        await desk.send("ash", Commit(step=step))
        moments_s.append(_later_than(moments_s[-1]))
    _later_than(moments_s[-1])
    orders, arrivals = [], []
    for _ in range(2):
        orders.append(await mailbox.take_order())
        arrivals.append(mailbox.order_arrived_s)
    return orders, arrivals, moments_s


def test_an_order_counts_from_its_arrival() -> None:
    orders, arrivals, (start_s, between_s, end_s) = asyncio.run(_take_late())
    assert orders == [Commit(step=1), Commit(step=2)]
    assert start_s <= arrivals[0] <= between_s <= arrivals[1] <= end_s


def test_a_step_that_was_given_up_while_its_lane_computed_is_not_waited_for() -> None:
    """Story: the coordinator gave a step up while a host computed. Nothing came after that, and the host waited for a
    tensor for ever: it looked for the order only when something else came in."""

    async def play() -> None:
        network = MemoryNetwork()
        host, desk = network.join("ash"), network.join(COORDINATOR)
        mailbox = Mailbox(host)

        async def compute() -> None:
            await desk.send("ash", Discard(step=3))
            while not mailbox._orders:
                await asyncio.sleep(0)

        await mailbox.meanwhile(compute())
        slot = Slot(run="r", view=0, attempt=0, step=3, micro_batch=0, direction=Direction.FORWARD, stage=1)
        with pytest.raises(StepDiscarded):
            await mailbox.pump(slot)
        assert await mailbox.take_order() == Discard(step=3)

    asyncio.run(asyncio.wait_for(play(), 30))
