"""An order counts from when it came in, however late its host gets round to it."""

from __future__ import annotations

import asyncio
import time

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Commit, Message
from shieldwall.pipeline.mailbox import Mailbox
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
