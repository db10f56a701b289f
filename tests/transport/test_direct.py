"""Workers that listen talk directly; where that fails their letters are relayed, and none is lost or doubled."""

from __future__ import annotations

import asyncio

import grpc
import pytest
import torch
from direct_workers import Chain, Worker, chain, until

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Discarded, Message, Stop, SumUp, TensorFrame
from shieldwall.transport import Endpoint
from shieldwall.transport.codec import pack
from shieldwall.transport.identity.authority import worker_host
from shieldwall.transport.identity.certificates import Credential
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.identity.refusals import banned
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import open_channel
from shieldwall.transport.remote.dialer import Dialer
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import enter
from shieldwall.transport.remote.probe import Prober


def frame(number: int, source: str = "a", size: int = 1) -> TensorFrame:
    slot = Slot(run="r", view=0, attempt=0, step=number, micro_batch=0, direction=Direction.FORWARD, stage=1)
    return TensorFrame(slot=slot, source=source, destination="b", tensor=torch.full((size,), float(number)))


def number_of(message: Message) -> int:
    assert isinstance(message, TensorFrame)
    assert bool((message.tensor == message.slot.step).all())
    return message.slot.step


async def send(sender: Endpoint, numbers: range, size: int = 1) -> None:
    for number in numbers:
        await sender.send("b", frame(number, size=size))


async def take(receiver: Endpoint, count: int) -> list[int]:
    return [number_of(await receiver.receive()) for _ in range(count)]


def test_who_listens_is_sent_to_directly_and_who_does_not_is_relayed() -> None:
    async def play() -> None:
        async with chain() as run, run.worker("a") as a, run.worker("b") as b, run.worker("c", listen=False) as c:
            await until(lambda: len(a.endpoint.ways) == len(b.endpoint.ways) == len(c.endpoint.ways) == 2)
            await until(lambda: a.goes("b", "direct") and b.goes("a", "direct") and c.goes("b", "direct"))
            await send(a.endpoint, range(100), size=30_000)
            assert await take(b.endpoint, 100) == list(range(100))
            assert b.endpoint.sender == "a"
            assert run.hub.relayed_bytes == {}
            assert b.endpoint.direct_bytes["a"] > 100 * 4 * 30_000
            await a.endpoint.send("c", SumUp(step=7))
            assert await c.endpoint.receive() == SumUp(step=7)
            assert list(run.hub.relayed_bytes) == [("a", "c")]
            await run.directory.settle(60)
            assert run.directory.ways_of("a") == {"b": "direct", "c": "relayed: no --listen"}
            assert run.notes[0].startswith("a -> b direct; a -> c relayed: no --listen; b -> a direct; b -> c relayed")
            assert run.notes[0].endswith("; c -> a, b direct")
            assert a.said == ["to b: direct", "to c: relayed: no --listen"]
            assert run.faults == []

    asyncio.run(play())


def test_a_way_that_breaks_and_falls_silent_loses_and_doubles_nothing() -> None:
    count, size = 240, 25_000

    async def play() -> None:
        async with chain() as run, run.worker("a") as a, run.worker("b", proxied=True) as b:
            proxy = b.proxy
            await until(lambda: a.goes("b", "direct"))
            taking = asyncio.create_task(take(b.endpoint, 3 * count))

            async def carried(more_bytes: int) -> None:
                reached = proxy.carried_bytes + more_bytes
                await until(lambda: proxy.carried_bytes >= reached)

            # broken again and again: the same link goes on
            sending = asyncio.create_task(send(a.endpoint, range(count), size))
            for _ in range(5):
                await carried(2 << 20)
                await proxy.break_connections()
            await sending
            assert run.hub.relayed_bytes == {}
            # silent in the middle of a letter: what may or may not have come is relayed, the rest after it
            sending = asyncio.create_task(send(a.endpoint, range(count, 2 * count), size))
            await carried(1_234_567)
            await proxy.set_silent(there=True, back=True)
            await until(lambda: a.goes("b", "relayed"))
            await sending
            await until(lambda: ("a", "b") in run.hub.relayed_bytes)
            # and back: what the line had kept comes now, and has come before
            await proxy.set_silent(there=False, back=False)
            await until(lambda: a.goes("b", "direct"))
            relayed = dict(run.hub.relayed_bytes)
            await send(a.endpoint, range(2 * count, 3 * count), size)
            assert await taking == list(range(3 * count))
            assert run.hub.relayed_bytes == relayed
            assert [said.split(":")[1].strip() for said in a.said] == ["direct", "relayed", "direct"]
            assert run.faults == []

    asyncio.run(play())


def test_what_ends_a_workers_work_comes_after_what_it_has_sent_of_it() -> None:
    """Else the coordinator could order other work before, and a tensor of the old work would be refused as stale."""

    async def play() -> None:
        async with chain() as run, run.worker("a") as a, run.worker("b", proxied=True) as b:
            coordinator = run.hub.join("coordinator")
            await until(lambda: a.goes("b", "direct"))
            b.proxy.there.delay_s = 0.3
            await a.endpoint.send("b", frame(1))
            await a.endpoint.send("coordinator", SumUp(step=1))
            assert await coordinator.receive() == SumUp(step=1)
            assert b.endpoint.direct_bytes == {}  # the line is that slow
            await a.endpoint.send("coordinator", Discarded(host="a", step=1))
            assert await coordinator.receive() == Discarded(host="a", step=1)
            assert b.endpoint.direct_bytes["a"] > 0

    asyncio.run(play())


async def dial(worker: Worker, peer: Worker, stream: int) -> tuple[Link, asyncio.Task[None]]:
    """A link to a worker's port, held by somebody who sends over it what it likes."""
    link = Link("peer", lambda _: 0)
    dialer = Dialer(
        link=link,
        addresses=[f"127.0.0.1:{peer.port}"],
        open_channel=lambda address: worker.passport.open_channel_to(peer.passport.name, address),
        patience_s=20,
        on_change=lambda _: None,
        greeting=wire.Hello(stream=stream),
    )
    return link, asyncio.create_task(dialer.keep())


async def refusal_of(dialling: asyncio.Task[None]) -> TransportError:
    with pytest.raises(TransportError) as refused:
        await dialling
    return refused.value


def test_a_member_speaks_in_no_other_name_and_gives_no_orders() -> None:
    async def play() -> None:
        async with (
            chain() as run,
            run.worker("a") as a,
            run.worker("b") as b,
            run.worker("mallory", listen=False) as liar,
        ):
            await until(lambda: "mallory" in b.endpoint.ways)
            stream = run.stream("mallory", "b")
            await until(lambda: liar.goes("b", "direct"))
            await liar.endpoint.close()  # its own link to b would be in the way
            link, dialling = await dial(liar, b, stream)
            for serial, name in enumerate(("a", "coordinator", "directory"), 1):
                link.put(Letter(name, "b", pack(frame(serial, source=name)), stream, serial))
            for serial in (1, 2, 3):
                assert number_of(await b.endpoint.receive()) == serial
                assert b.endpoint.sender == "mallory"
            link.put(Letter("coordinator", "b", pack(Stop()), stream, 4))
            error = await refusal_of(dialling)
            assert "SW-T108" in str(error)
            assert b.said[-1].endswith("(SW-T108)")
            # a's stream is a's: what mallory numbered has not moved it; and the coordinator is nobody but itself
            await a.endpoint.send("b", frame(9))
            assert number_of(await b.endpoint.receive()) == 9
            assert b.endpoint.sender == "a"
            await run.hub.join("coordinator").send("b", SumUp(step=5))
            assert await b.endpoint.receive() == SumUp(step=5)
            assert b.endpoint.sender == "coordinator"

    asyncio.run(play())


def test_nobody_is_taken_for_the_one_who_was_dialled_but_that_one() -> None:
    """Mallory listens where b is said to listen: the handshake fails, and b gets its letters by the relay."""

    async def play() -> None:
        async with (
            chain() as run,
            run.worker("mallory") as liar,
            run.worker("a") as a,
            run.worker("b", told=f"127.0.0.1:{liar.port}") as b,
        ):
            await until(lambda: a.goes("b", "relayed") and a.goes("mallory", "direct"))
            await send(a.endpoint, range(3))
            assert await take(b.endpoint, 3) == [0, 1, 2]
            assert liar.endpoint.direct_bytes == {}
            # nor is a worker taken for the initiator
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await ask(a, liar.port, "shieldwall", a.passport.membership.credential)
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
            await ask(a, liar.port, worker_host("mallory"), a.passport.membership.credential)

    asyncio.run(play())


async def ask(worker: Worker, port: int, host: str, shown: Credential) -> None:
    async with open_channel(f"127.0.0.1:{port}", worker.ticket.authority_pem, shown, host) as channel:
        await Prober(channel, 10).ask()


def test_guests_and_members_of_other_runs_get_no_further_than_the_handshake() -> None:
    async def play() -> None:
        async with chain() as run, chain() as other, run.worker("a") as a, run.worker("b") as b:
            with open_home(other.folder / "home") as home:
                foreign = await enter(home, other.ticket(), wish="a")
            for shown in (run.ticket().guest, foreign.membership.credential):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await ask(a, b.port, worker_host("b"), shown)
                assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
            await ask(a, b.port, worker_host("b"), a.passport.membership.credential)

    asyncio.run(play())


def test_who_is_banned_is_cut_off_everywhere_and_let_in_nowhere() -> None:
    async def play() -> None:
        async with chain() as run, run.worker("a") as a, run.worker("b") as b, run.worker("mallory") as liar:
            await until(lambda: liar.goes("b", "direct") and a.goes("mallory", "direct"))
            stream = run.stream("mallory", "b")
            await liar.endpoint.send("b", frame(1, source="mallory"))
            assert number_of(await b.endpoint.receive()) == 1
            await ban(run, "mallory")
            await until(lambda: set(a.endpoint.ways) == {"b"} and set(b.endpoint.ways) == {"a"})
            _, dialling = await dial(liar, b, stream)
            error = await refusal_of(dialling)
            assert error.code == "SW-T109"
            await liar.endpoint.send("b", frame(2, source="mallory"))  # over the link of before, were it there
            await a.endpoint.send("b", frame(3))
            assert number_of(await b.endpoint.receive()) == 3

    asyncio.run(play())


async def ban(run: Chain, name: str) -> None:
    await run.server.send_away(name, banned(run.gate.book.ban(name, "by hand", utc_now())))
