"""Messages between a hub and ends that dial it, over real sockets and mutual TLS."""

from __future__ import annotations

import asyncio
import resource

import psutil
import pytest
import torch
from torch import Tensor
from wired import wired

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Message, SumUp, TensorFrame, Unable
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.transport import Endpoint
from shieldwall.transport.faulty import FaultyProxy


def frame(micro_batch: int, *sizes: int) -> TensorFrame:
    slot = Slot(run="r", view=0, attempt=0, step=1, micro_batch=micro_batch, direction=Direction.FORWARD, stage=1)
    tensor_BTD = torch.randn(sizes, generator=torch.Generator().manual_seed(micro_batch))
    return TensorFrame(slot=slot, source="a", destination="b", tensor=tensor_BTD)


@pytest.mark.parametrize("lanes", [1, 3])
def test_messages_arrive_in_order_and_bit_for_bit(lanes: int) -> None:
    sizes = [(2, 3, 5), (0, 4), (700, 1000), (1,), (300, 999), ()]

    async def play() -> None:
        async with wired() as net, net.dialled("worker-1", lanes=lanes) as worker:
            coordinator = net.hub.join("coordinator")
            for number, size in enumerate(sizes):
                await worker.send("coordinator", frame(number, *size))
                await worker.send("coordinator", SumUp(step=number))
            for number, size in enumerate(sizes):
                got = await coordinator.receive()
                assert isinstance(got, TensorFrame)
                assert tensor_root(got.tensor) == tensor_root(frame(number, *size).tensor)
                assert coordinator.sender == "worker-1"
                assert await coordinator.receive() == SumUp(step=number)
                await coordinator.send("worker-1", got)
            for number, size in enumerate(sizes):
                back = await worker.receive()
                assert isinstance(back, TensorFrame)
                assert tensor_root(back.tensor) == tensor_root(frame(number, *size).tensor)
                assert worker.sender == "coordinator"
            assert (net.faults, net.refusals) == ([], [])

    asyncio.run(play())


def test_workers_reach_each_other_through_the_hub_under_their_own_names() -> None:
    async def play() -> None:
        async with wired() as net, net.dialled("worker-1") as one, net.dialled("worker-2") as two:
            await two.send("worker-1", SumUp(step=1))
            # the hub may not know worker-1 yet; whoever is not there yet cannot be written to
            coordinator = net.hub.join("coordinator")
            await one.send("coordinator", SumUp(step=0))
            await coordinator.receive()
            await two.send("worker-1", frame(3, 5, 5))
            got = await one.receive()
            while isinstance(got, SumUp):
                got = await one.receive()
            assert isinstance(got, TensorFrame)
            assert one.sender == "worker-2"
            assert net.hub.relayed_bytes["worker-2", "worker-1"] > 100

    asyncio.run(play())


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_broken_connection_loses_and_doubles_nothing(lanes: int) -> None:
    async def play() -> None:
        async with wired() as net:
            proxy = FaultyProxy(("127.0.0.1", net.port))
            coordinator = net.hub.join("coordinator")
            async with proxy.listening() as port, net.dialled("w", lanes=lanes, address=f"127.0.0.1:{port}") as worker:
                await worker.send("coordinator", SumUp(step=0))
                assert await coordinator.receive() == SumUp(step=0)

                async def send(sender: Endpoint, to: str) -> None:
                    for number in range(1, 250):
                        await sender.send(to, frame(number, 100, 150))

                async def receive(receiver: Endpoint) -> list[str]:
                    return [tensor_root(tensor_of(await receiver.receive())) for _ in range(1, 250)]

                both = asyncio.gather(
                    send(worker, "coordinator"), send(coordinator, "w"), receive(coordinator), receive(worker)
                )
                breaks = 0
                while not both.done():
                    reached = proxy.carried_bytes + (2 << 20)
                    while proxy.carried_bytes < reached and not both.done():
                        await asyncio.sleep(0.001)
                    await proxy.break_connections()
                    breaks += 1
                _, _, there, back = await both
                sent = [tensor_root(frame(number, 100, 150).tensor) for number in range(1, 250)]
                assert there == back == sent
                assert breaks > 3

    asyncio.run(play())


def tensor_of(message: Message) -> Tensor:
    assert isinstance(message, TensorFrame)
    return message.tensor


def test_where_there_is_no_room_for_a_letter_the_receiver_is_told_and_can_still_say_so() -> None:
    """The operating system itself refuses memory past a limit, in this very process."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    large = SumUp(step=0), frame(1, 14 << 20, 1), SumUp(step=1)

    async def play() -> None:
        async with wired() as net, net.dialled("worker-1", says_no_room=True) as worker:
            coordinator = net.hub.join("coordinator")
            await worker.send("coordinator", SumUp(step=7))
            await coordinator.receive()
            used = psutil.Process().memory_info().data
            resource.setrlimit(resource.RLIMIT_DATA, (used + (32 << 20), before[1]))
            for message in large:
                await coordinator.send("worker-1", message)
            assert await worker.receive() == SumUp(step=0)
            with pytest.raises(MemoryError, match="can't allocate memory"):
                await worker.receive()
            await worker.send("coordinator", Unable(host="worker-1", kind="memory"))
            assert await coordinator.receive() == Unable(host="worker-1", kind="memory")
            with pytest.raises(MemoryError):
                await worker.receive()
            assert (net.faults, net.refusals) == ([], [])

    try:
        asyncio.run(play())
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
