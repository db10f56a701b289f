"""An open port among strangers: what they may take is bounded, what they send is refused and told once, and whoever
belongs to the run notices nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import grpc
import psutil
import pytest
import torch
from wired import Wired, wired

from shieldwall.core.arithmetic import ArithmeticClass, name_arithmetic
from shieldwall.core.compression import Compression
from shieldwall.core.errors import EnrolmentError, TransportError
from shieldwall.core.messages import Came, Gone, Message, SumUp, Welcome
from shieldwall.lab.fuzz.assault import Idlers, assault
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.run.machines.sentry import Sentry
from shieldwall.schedule import StageCosts
from shieldwall.transport import Endpoint
from shieldwall.transport.codec import pack
from shieldwall.transport.codec.message import Packed
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.fit import check_fit, describe_machine
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.remote import limits
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import SERVICE, open_channel
from shieldwall.transport.remote.dialer import Dialer
from shieldwall.transport.remote.inbox import Inbox
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import Passport, enter

CPU = torch.device("cpu")
GENEROUS_S = 60.0
SHAPELESS = pack(SumUp(step=1))


def head(number: int = 1, kind: str = "SumUp", body: bytes = SHAPELESS.body, to: str = "coordinator") -> wire.Head:
    return wire.Head(number=number, source="x", destination=to, kind=kind, body=body)


def with_forms(*forms: wire.Form) -> wire.Piece:
    made = head()
    made.tensors.extend(forms)
    return wire.Piece(head=made)


def part(content: bytes, *, offset: int = 0, tensor: int = 0) -> wire.Piece:
    return wire.Piece(part=wire.Part(number=1, tensor=tensor, offset=offset, content=content))


MEBIBYTE = wire.Form(dtype="uint8", shape=[1 << 20])
GARBAGE: dict[str, tuple[list[wire.Piece | bytes], str]] = {
    "noise": ([b"\xff\x00garbage"], "SW-T107"),
    "nothing": ([b""], "SW-T107"),
    "10 GB": ([with_forms(wire.Form(dtype="float32", shape=[2_500_000_000]))], "SW-T108"),
    "more than there is": ([with_forms(wire.Form(dtype="float32", shape=[2**63, 2**63]))], "SW-T108"),
    "a type that does not travel": ([with_forms(wire.Form(dtype="object", shape=[1]))], "SW-T107"),
    "a million empty tensors": ([with_forms(*[wire.Form(dtype="uint8", shape=[0])] * 70_000)], "SW-T107"),
    "a second greeting": ([wire.Piece(hello=wire.Hello(session=bytes(16)))], "SW-T107"),
    "a part of a letter that is whole": ([wire.Piece(head=head()), part(b"a")], "SW-T107"),
    "a part of no tensor": ([with_forms(MEBIBYTE), part(b"a" * (1 << 16), tensor=1)], "SW-T107"),
    "crumbs": ([with_forms(MEBIBYTE), part(b"a")], "SW-T107"),
    "a part beyond the end": ([with_forms(MEBIBYTE), part(b"a" * (1 << 16), offset=1 << 20)], "SW-T107"),
    "a head twice": ([with_forms(MEBIBYTE), with_forms(MEBIBYTE)], "SW-T107"),
    "an acknowledgement of nothing": ([wire.Piece(ack=wire.Ack(number=7))], "SW-T107"),
    "no such message": ([wire.Piece(head=head(kind="Exec"))], "SW-T107"),
    "no JSON": ([wire.Piece(head=head(body=b"[" * 100_000))], "SW-T107"),
}


@contextlib.asynccontextmanager
async def member(net: Wired, name: str, facts: dict[str, str] | None = None) -> AsyncIterator[Passport]:
    ticket = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[net.address])
    with open_home(net.folder / name) as home:
        yield await enter(home, ticket, wish=name, facts=facts)


async def stream(channel: grpc.aio.Channel, *sent: wire.Piece | bytes) -> grpc.StatusCode:
    """How a member's stream ends that greets and sends this."""
    call = channel.stream_stream(f"/{SERVICE}/Carry")()
    hello = wire.Piece(hello=wire.Hello(session=b"s" * 16, dialled=1, fresh=True))
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(hello.SerializeToString())
        assert wire.Piece.FromString(await call.read()).WhichOneof("content") == "hello"
        for each in sent:
            await call.write(each if isinstance(each, bytes) else each.SerializeToString())
        while await call.read() is not grpc.aio.EOF:
            pass
    code: grpc.StatusCode = await asyncio.wait_for(call.code(), GENEROUS_S)
    return code


async def talk(worker: Endpoint, coordinator: Endpoint, step: int) -> None:
    """The honest worker still reaches the initiator."""
    await worker.send("coordinator", SumUp(step=step))
    assert await asyncio.wait_for(coordinator.receive(), GENEROUS_S) == SumUp(step=step)


def test_a_member_that_sends_garbage_is_cut_off_and_nobody_else() -> None:
    async def play() -> None:
        async with wired(allowed_bytes=4 << 20) as net, net.dialled("honest") as honest:
            coordinator = net.hub.join("coordinator")
            for number, (name, (pieces, code)) in enumerate(GARBAGE.items()):
                async with member(net, f"liar-{number}") as liar, liar.open_channel(net.address) as channel:
                    assert await stream(channel, *pieces) is grpc.StatusCode.PERMISSION_DENIED, name
                assert net.refusals == [code], name
                net.refusals.clear()
                assert set(net.hub.links) == {"honest"}, name
                if "whole" in name:
                    assert await coordinator.receive() == SumUp(step=1)
                await talk(honest, coordinator, number)
            assert net.faults == []
            assert net.said == ["connected to " + net.address]

    asyncio.run(play())


def test_half_a_frame_is_never_one() -> None:
    async def play() -> None:
        async with wired() as net, net.dialled("honest") as honest:
            coordinator = net.hub.join("coordinator")
            async with member(net, "half") as half, half.open_channel(net.address) as channel:
                call = channel.stream_stream(f"/{SERVICE}/Carry")()
                hello = wire.Hello(session=b"s" * 16, dialled=1, fresh=True)
                for piece in (wire.Piece(hello=hello), with_forms(MEBIBYTE), part(b"a" * (1 << 16))):
                    await call.write(piece.SerializeToString())
                assert wire.Piece.FromString(await call.read()).WhichOneof("content") == "hello"
                call.cancel()
            await talk(honest, coordinator, 1)
            assert (net.faults, net.refusals) == ([], [])

    asyncio.run(play())


def test_garbage_for_a_neighbour_ends_its_sender_and_not_the_neighbour() -> None:
    """Story: the initiator passed letters on unread; one that nobody could read ended the worker whom it was for."""

    async def play() -> None:
        async with wired() as net, net.dialled("honest") as honest:
            coordinator = net.hub.join("coordinator")
            await talk(honest, coordinator, 0)
            async with member(net, "liar") as liar, liar.open_channel(net.address) as channel:
                unreadable = wire.Piece(head=head(kind="Exec", to="honest"))
                assert await stream(channel, unreadable) is grpc.StatusCode.PERMISSION_DENIED
            assert (net.refusals, set(net.hub.links)) == (["SW-T107"], {"honest"})
            await talk(honest, coordinator, 1)

    asyncio.run(play())


def test_what_a_neighbour_sent_and_nobody_can_read_is_dropped() -> None:
    async def play() -> None:
        async with wired() as net, net.dialled("honest") as honest:
            await talk(honest, net.hub.join("coordinator"), 0)
            for body in (b"{", SHAPELESS.body):
                await net.hub.links["honest"].send(Letter("liar", "honest", Packed("SumUp", body, ())))
            assert await asyncio.wait_for(honest.receive(), GENEROUS_S) == SumUp(step=1)
            assert honest.sender == "liar"

    asyncio.run(play())


def test_the_coordinator_hears_of_a_member_whose_link_was_ended() -> None:
    """Story: a worker that sent garbage was cut off, and the run waited for its work for ever."""
    welcome = Welcome(
        run="r", topology="chain", checked=True, threads=1, seed=0, model="{}", attention="", dtype="", autocast=False,
        adapter="", optimizer="{}", gradient_checkpointing=False, compression="none", frame_bytes=1, state_bytes=1,
        silence_s=GENEROUS_S,
    )  # fmt: skip

    async def play() -> list[Message]:
        async with wired() as net:
            sentry = Sentry(welcome, Deadlines(costs=StageCosts(forward_s=(1.0,), backward_s=(1.0,))))
            sentry.stand(net.hub, net.server)
            net.hub._on_attached = sentry.greet
            coordinator = net.hub.join("coordinator")
            watching = asyncio.create_task(sentry.watch())
            try:
                async with member(net, "liar") as liar, liar.open_channel(net.address) as channel:
                    await stream(channel, wire.Piece(head=head(kind="Exec")))
                    return [await asyncio.wait_for(coordinator.receive(), GENEROUS_S) for _ in range(2)]
            finally:
                watching.cancel()

    assert asyncio.run(play()) == [Came(host="liar"), Gone(host="liar", silent_s=0.0)]


def test_connections_that_say_nothing_are_closed_and_a_worker_joins_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_S", 2.0)
    mine = psutil.Process()

    async def play() -> None:
        async with wired() as net:
            coordinator = net.hub.join("coordinator")
            before = mine.num_fds()
            async with Idlers("127.0.0.1", net.port, 50).held() as idlers:
                assert idlers.open == 50
                async with net.dialled("honest") as honest:
                    await talk(honest, coordinator, 1)
                    while idlers.closed < 50:
                        await asyncio.sleep(0.05)
            while mine.num_fds() > before:
                await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(play(), GENEROUS_S))


def test_many_connections_at_once_do_not_end_the_process() -> None:
    """Story: gRPC was given its certificates anew at each handshake. It exchanges them without a lock, and some hundred
    connections at once, of strangers who said nothing that makes sense, ended the initiator with a segmentation fault.
    """

    async def knock(net: Wired, times: int) -> None:
        for _ in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", net.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(OSError):
                await reader.read()
            writer.transport.abort()

    async def play() -> None:
        async with wired() as net:
            knocking = asyncio.gather(*(knock(net, 40) for _ in range(16)))
            for _ in range(3):
                async with net.dialled("honest") as honest:  # with a ticket that the port has to hear of
                    await honest.send("nobody", SumUp(step=1))
            await knocking

    asyncio.run(asyncio.wait_for(play(), GENEROUS_S))


def test_a_full_port_takes_no_more_and_keeps_those_whom_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_CONNECTIONS", 10)

    async def play() -> None:
        async with wired() as net, net.dialled("honest") as honest:
            coordinator = net.hub.join("coordinator")
            await talk(honest, coordinator, 1)
            idlers = Idlers("127.0.0.1", net.port, 40)
            async with idlers.held():
                while idlers.closed < 30:
                    await asyncio.sleep(0.01)
                await talk(honest, coordinator, 2)
            assert net.said == ["connected to " + net.address]

    asyncio.run(asyncio.wait_for(play(), GENEROUS_S))


def test_a_call_without_a_request_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from shieldwall.transport.remote import server

    monkeypatch.setattr(server, "REQUEST_S", 0.2)

    async def play() -> None:
        async with wired() as net:
            ticket = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[net.address])
            async with open_channel(net.address, ticket.authority_pem, ticket.guest) as channel:
                call = channel.stream_stream(f"/{SERVICE}/Enrol")()
                assert await asyncio.wait_for(call.code(), GENEROUS_S) is grpc.StatusCode.PERMISSION_DENIED
            assert net.refusals == ["SW-T107"]

    asyncio.run(play())


def test_one_guest_cannot_take_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_CALLS_OF_A_PEER", 3)

    async def play() -> None:
        async with wired() as net, net.dialled("honest") as honest:
            coordinator = net.hub.join("coordinator")
            ticket = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[net.address])
            async with open_channel(net.address, ticket.authority_pem, ticket.guest) as channel:
                calls = [channel.stream_stream(f"/{SERVICE}/Probe")() for _ in range(8)]
                for call in calls:
                    await call.wait_for_connection()
                while len(net.refusals) < 5:
                    await asyncio.sleep(0.01)
                await talk(honest, coordinator, 1)
                for call in calls:
                    call.cancel()
            assert set(net.refusals) == {"SW-T113"}

    asyncio.run(asyncio.wait_for(play(), GENEROUS_S))


def run_class(**changed: str) -> ArithmeticClass:
    """This machine's in a run, or another one's."""
    mine = name_arithmetic(
        CPU, threads=1, attention="sdpa", dtype="float32", optimizer="adamw", compression=Compression("int8")
    )
    return replace(mine, **changed)  # type: ignore[arg-type]


def test_a_machine_of_another_class_is_refused_before_it_takes_a_use_or_a_session() -> None:
    """Both sides' classes stand in the error, what the run compresses with among them."""
    here, other = run_class(), run_class(isa="SVE", torch="1.0")

    async def play() -> tuple[EnrolmentError, EnrolmentError]:
        async with wired(arithmetic=other) as net:
            with pytest.raises(EnrolmentError, match="SW-T230") as enrolling:
                async with member(net, "one", describe_machine(CPU)):
                    pass
            assert net.gate.book.members() == ()
            assert [each.used for each in net.gate.book.invitations(utc_now())] == [0]
            async with member(net, "two", {**describe_machine(CPU), "isa": "SVE", "torch": "1.0"}) as passport:
                dialer = Dialer(
                    link=Link("initiator", lambda _: 0),
                    addresses=[net.address],
                    open_channel=passport.open_channel,
                    patience_s=GENEROUS_S,
                    on_change=net.said.append,
                    machine=describe_machine(CPU),
                )
                with pytest.raises(EnrolmentError, match="SW-T230") as arriving:
                    await dialer.keep()
            assert (net.hub.links, net.said) == ({}, [])
            return enrolling.value, arriving.value

    for error in asyncio.run(play()):
        assert (error.expected, error.got) == (str(other), str(here))
        assert "borders=contiguous/int8/128" in error.got


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda said: said | {"shieldwall": "0.0.1"}, "SW-T231"),
        (lambda said: said | {"isa": "x"}, "SW-T230"),
        (lambda said: said | {"torch": 7}, "SW-T221"),
        (lambda said: said | {"torch": "\x1b[2J"}, "SW-T221"),
        (lambda _: {}, "SW-T221"),
    ],
)
def test_what_a_machine_says_of_itself_is_read_strictly(
    change: Callable[[dict[str, str]], dict[str, object]], code: str
) -> None:
    check_fit(describe_machine(CPU), run_class())
    with pytest.raises(EnrolmentError, match=code):
        check_fit(change(describe_machine(CPU)), run_class())


def test_letters_of_nothing_weigh_something() -> None:
    """Else a window would hold a million letters without a byte."""
    inbox = Inbox("peer", lambda _: 1 << 20, window_bytes=1 << 16)
    while inbox.held_bytes < 1 << 16:
        inbox.take_head(head(2 + inbox.held_bytes))
    with pytest.raises(TransportError, match="SW-T108"):
        inbox.take_head(head(1 << 40))


def test_a_few_hundred_inputs_of_all_kinds_leave_the_port_as_it_was() -> None:
    mine = psutil.Process()

    async def play() -> None:
        async with wired(allowed_bytes=4 << 20) as net, net.dialled("honest") as honest:
            coordinator = net.hub.join("coordinator")
            machine = describe_machine(CPU)
            async with assault(net.address, net.gate, machine, members=4) as army:
                await army.send(40, "warm")
                before = mine.num_fds()
                await army.send(260, "test")
                assert army.sent.all == 300
                assert set(army.sent.inputs) == {"tcp", "tls", "http2", "guest", "member"}
                assert army.sent.refused["PERMISSION_DENIED"] > 10
            while mine.num_fds() > before:
                await asyncio.sleep(0.05)
            async with net.dialled("late") as late:
                for worker in (honest, late):
                    await worker.send("coordinator", SumUp(step=77))
                    while await coordinator.receive() != SumUp(step=77) or coordinator.sender != worker.name:
                        pass  # what members sent that can be read comes before

    asyncio.run(asyncio.wait_for(play(), 5 * GENEROUS_S))
