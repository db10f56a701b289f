"""An order counts from when it came in, however late its host gets round to it."""

from __future__ import annotations

import asyncio
import time

from shieldwall.core.messages import Commit, Message
from shieldwall.pipeline.mailbox import Mailbox
from shieldwall.transport import MemoryNetwork


async def _take_late() -> tuple[list[Message], list[float], float]:
    network = MemoryNetwork()
    host, desk = network.join("ash"), network.join("desk")
    mailbox = Mailbox(host)
    for step in (1, 2):
        await desk.send("ash", Commit(step=step))
    sent_s = time.perf_counter()
    await asyncio.sleep(0.05)
    orders, arrivals = [], []
    for _ in range(2):
        orders.append(await mailbox.take_order())
        arrivals.append(mailbox.order_arrived_s)
    return orders, arrivals, sent_s


def test_an_order_counts_from_its_arrival() -> None:
    orders, arrivals, sent_s = asyncio.run(_take_late())
    assert orders == [Commit(step=1), Commit(step=2)]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] <= sent_s
