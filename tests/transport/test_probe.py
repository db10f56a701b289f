"""Probes of a run: bounded, answered to guests and members alone, and told no more than each may know."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from wired import Wired, wired

from shieldwall.core.errors import TransportError
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.members import Invitation
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import SERVICE, open_channel
from shieldwall.transport.remote.probe import LARGEST_LOAD_BYTES, Prober, RunFacts, Standing, answer_probe

NOW = utc_now()
FACTS = RunFacts(versions={"shieldwall": "0.1.0"}, worker_bytes=77, frame_bytes=7)


def guest(*, used: int = 0, left: timedelta = timedelta(hours=1)) -> Invitation:
    return Invitation(id="a", root_der=b"", expires=NOW + left, uses=1, used=used)


@pytest.mark.parametrize(
    ("peer", "standing"),
    [
        (guest(), Standing.GUEST),
        (guest(used=1), Standing.USED_UP),
        (guest(left=timedelta(0)), Standing.EXPIRED),
    ],
)
def test_sizes_are_for_those_alone_who_may_join(peer: Invitation, standing: Standing) -> None:
    told = answer_probe(wire.Question(), peer, FACTS, NOW)
    may = standing is Standing.GUEST
    assert Standing(told.standing) is standing
    assert (told.worker_bytes, told.frame_bytes) == ((77, 7) if may else (0, 0))
    assert dict(told.versions) == FACTS.versions
    assert datetime.fromtimestamp(told.time_s, UTC) == NOW


def channel_of_guest(net: Wired) -> grpc.aio.Channel:
    ticket = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[net.address])
    return open_channel(net.address, ticket.authority_pem, ticket.guest)


@pytest.mark.parametrize(("there", "back"), [(LARGEST_LOAD_BYTES + 1, 0), (0, LARGEST_LOAD_BYTES + 1)])
def test_a_probe_is_no_larger_than_a_part_of_a_letter(there: int, back: int) -> None:
    async def play() -> None:
        async with wired() as net, channel_of_guest(net) as channel:
            prober = Prober(channel, 20)
            assert await prober.carry(LARGEST_LOAD_BYTES, LARGEST_LOAD_BYTES) > 0
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await prober.carry(there, back)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert net.refusals == ["SW-T107"]

    asyncio.run(play())


@pytest.mark.parametrize(
    "told",
    [
        wire.Told(standing=wire.GUEST, time_s=float("nan")),
        wire.Told(standing=wire.GUEST, time_s=1e300),
        wire.Told(standing=wire.UNKNOWN),
        wire.Told(standing=wire.GUEST, versions={"torch": "\x1b[2J"}),
        wire.Told(standing=wire.GUEST, versions={"torch": "2" * 65}),
        wire.Told(standing=wire.GUEST, load=b"more than was asked for"),
    ],
)
def test_an_answer_that_is_none_is_not_believed(told: wire.Told) -> None:
    async def play() -> None:
        async def probe(question: wire.Question, _: object) -> wire.Told:
            return told if question.load_back_bytes == 0 else wire.Told(load=bytes(question.load_back_bytes))

        way = grpc.unary_unary_rpc_method_handler(probe, wire.Question.FromString, wire.Told.SerializeToString)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Probe": way})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            prober = Prober(channel, 20)
            await prober.carry(0, 5)
            with pytest.raises(TransportError, match="SW-T107"):
                await (prober.carry() if told.load else prober.ask())
        await server.stop(None)

    asyncio.run(play())
