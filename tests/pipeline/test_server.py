"""The server of a star: what it passes on, what it drops, and what it shows the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import COORDINATOR, SERVER, Direction, Slot
from shieldwall.core.messages import Commit, Message, Note, Relay, Stop, TensorFrame
from shieldwall.core.signing import Identity, Signed
from shieldwall.core.statements import Alert, Header, Settlement
from shieldwall.pipeline.server import Server, route_of
from shieldwall.schedule import chain_custody, make_plan, usual_hosts
from shieldwall.transport import StarNetwork
from shieldwall.transport.memory import MemoryEndpoint

HOSTS = ("initiator", "worker-1", "worker-2", "worker-3")
"""worker-2 computes on what worker-1 makes of stage 1, and worker-3 feeds it to the duplicate of stage 2."""
PLAN = make_plan("gpipe", 5, 2, chain_custody(usual_hosts(5)), when="before_commit", topology="star")
ROUTE = route_of(PLAN, run="test", view=0, attempt=1, step=4)
SLOT = Slot(run="test", view=0, attempt=1, step=4, micro_batch=0, direction=Direction.FORWARD, stage=1)
MAKER = "worker-1"
KEY = Identity(MAKER)

Sent = tuple[str, Message]
"""Who sends, and what."""


def frame(slot: Slot = SLOT, root: str = "aa", source: str = MAKER) -> TensorFrame:
    header = Header(
        slot=slot, source=MAKER, destinations=("worker-2", "worker-3"), shape=(2,), dtype="float32",
        arithmetic="class", root_in="", root_out=root, state_root="",
    )  # fmt: skip
    tensor = torch.zeros(2)
    return TensorFrame(slot=slot, source=source, destination=SERVER, tensor=tensor, header=KEY.sign(header))


def serve(sent: Sequence[Sent], route: Message = ROUTE) -> tuple[dict[str, list[Message]], Server]:
    """What each host and the coordinator are sent when the server gets `sent`; and the server."""

    async def run() -> tuple[dict[str, list[Message]], Server]:
        network = StarNetwork()
        ends = {name: network.join(name) for name in (*HOSTS, COORDINATOR)}
        server = Server(network.join(SERVER))
        await ends[COORDINATOR].send(SERVER, route)
        for sender, message in sent:
            await ends[sender].send(SERVER, message)
        await ends[COORDINATOR].send(SERVER, Stop())
        await server.serve()
        return {name: [await each.receive() for _ in range(_waiting(each))] for name, each in ends.items()}, server

    return asyncio.run(run())


def _waiting(end: MemoryEndpoint) -> int:
    return end._arrived.qsize()


def passed(got: dict[str, list[Message]]) -> dict[str, list[Message]]:
    """Who was sent something, and what."""
    return {name: messages for name, messages in got.items() if messages}


def test_a_tensor_goes_to_those_who_use_it_under_its_own_header() -> None:
    upload = frame()
    got, server = serve([(MAKER, upload)])
    assert set(passed(got)) == {"worker-2", "worker-3"}
    for name, messages in passed(got).items():
        (received,) = messages
        assert isinstance(received, TensorFrame)
        assert received.header is upload.header
        assert received.tensor is upload.tensor
        assert (received.source, received.destination) == (MAKER, name)
    assert not server.dropped.counts


def test_the_server_says_who_made_a_tensor_whatever_the_frame_does() -> None:
    got, _ = serve([(MAKER, frame(source="worker-3"))])
    assert {message.source for message in got["worker-2"] if isinstance(message, TensorFrame)} == {MAKER}


@pytest.mark.parametrize(
    ("sender", "upload"),
    [
        ("worker-2", frame()),
        ("worker-3", frame()),
        ("initiator", frame()),
        (COORDINATOR, frame()),
        (MAKER, frame(replace(SLOT, stage=2))),
        (MAKER, frame(replace(SLOT, stage=9))),
        (MAKER, frame(replace(SLOT, micro_batch=2))),
        (MAKER, frame(replace(SLOT, direction=Direction.EVALUATION))),
        (MAKER, frame(replace(SLOT, step=5))),
        (MAKER, frame(replace(SLOT, attempt=2))),
        (MAKER, frame(replace(SLOT, view=1))),
        (MAKER, frame(replace(SLOT, run="another"))),
    ],
    ids=lambda part: part if isinstance(part, str) else str(part.slot),
)
def test_what_is_not_its_senders_to_send_or_not_of_the_work_in_hand_is_dropped(
    sender: str, upload: TensorFrame
) -> None:
    got, server = serve([(sender, upload)])
    assert passed(got) == {}
    assert server.dropped.counts == {(sender, "TensorFrame"): 1}


def test_a_second_tensor_goes_to_nobody_and_both_headers_to_the_coordinator() -> None:
    first, second = frame(), frame(root="bb")
    got, server = serve([(MAKER, first), (MAKER, second)])
    assert [len(got[name]) for name in ("worker-2", "worker-3")] == [1, 1]
    assert got[COORDINATOR] == [Note(signed=each.header) for each in (first, second) if each.header]
    assert server.dropped.counts == {(MAKER, "TensorFrame"): 1}


@pytest.mark.parametrize("second", [frame(), replace(frame(), header=None), replace(frame(), tensor=torch.ones(2))])
def test_a_second_tensor_that_shows_nothing_is_dropped(second: TensorFrame) -> None:
    got, server = serve([(MAKER, frame()), (MAKER, second)])
    assert [len(got[name]) for name in ("worker-2", "worker-3", COORDINATOR)] == [1, 1, 0]
    assert server.dropped.counts == {(MAKER, "TensorFrame"): 1}


def test_older_work_goes_on_once_for_those_who_refuse_it_and_takes_no_place() -> None:
    """A receiver that is sent nothing would wait for ever; what it can refuse, the initiator makes good."""
    old, older = frame(replace(SLOT, attempt=0)), frame(replace(SLOT, step=3))
    got, server = serve([(MAKER, old), (MAKER, older), (MAKER, frame())])
    for name in ("worker-2", "worker-3"):
        slots = [message.slot for message in got[name] if isinstance(message, TensorFrame)]
        assert slots == [old.slot, SLOT]
    assert server.dropped.counts == {(MAKER, "TensorFrame"): 1}


def test_each_attempt_begins_anew() -> None:
    again = route_of(PLAN, run="test", view=0, attempt=2, step=4)
    got, _ = serve([(MAKER, frame()), (COORDINATOR, again), (MAKER, frame(replace(SLOT, attempt=2)))])
    assert len(got["worker-2"]) == 2


def test_an_evaluation_has_ways_of_its_own() -> None:
    plan = make_plan("gpipe", 5, 2, chain_custody(usual_hosts(5)), training=False, when="before_use", topology="star")
    route = route_of(plan, run="test", view=0, attempt=1, step=4)
    got, _ = serve([(MAKER, frame()), (MAKER, frame(replace(SLOT, direction=Direction.EVALUATION)))], route)
    (message,) = got["worker-2"]
    assert isinstance(message, TensorFrame)
    assert message.slot.direction is Direction.EVALUATION


SETTLEMENT = Settlement(slot=SLOT, root_in="", root_out="aa")
ALERT = Alert(slot=SLOT, root_in="", root_out="bb", claimed="aa")


def relay(destination: str, signed: Signed[Any]) -> Relay:
    return Relay(destination=destination, note=Note(signed=signed))


def test_a_settlement_goes_to_whom_it_is_for() -> None:
    signed = Identity("worker-2").sign(SETTLEMENT)
    got, _ = serve([("worker-2", relay("worker-3", signed))])
    assert passed(got) == {"worker-3": [Note(signed=signed)]}


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("worker-3", relay("worker-1", Identity("worker-2").sign(SETTLEMENT))),
        ("worker-2", relay("nobody", Identity("worker-2").sign(SETTLEMENT))),
        ("worker-2", relay(COORDINATOR, Identity("worker-2").sign(SETTLEMENT))),
        (
            "worker-2",
            relay("worker-3", Identity("worker-2").sign(ALERT)),
        ),
        ("worker-2", Note(signed=Identity("worker-2").sign(SETTLEMENT))),
        ("worker-2", Commit(step=4)),
        ("worker-2", ROUTE),
        ("worker-2", Stop()),
    ],
    ids=["another's", "to nobody", "to the coordinator", "an alert", "for the server", "an order", "a route", "a stop"],
)
def test_everything_else_is_dropped(sender: str, message: Message) -> None:
    got, server = serve([(sender, message), (MAKER, frame())])
    assert set(passed(got)) == {"worker-2", "worker-3"}, "the tensor behind it, and nothing else"
    assert [len(messages) for messages in passed(got).values()] == [1, 1]
    assert server.dropped.counts == {(sender, type(message).__name__): 1}


def test_who_plays_no_lane_is_not_heard() -> None:
    """An expelled worker has no say in the lanes of others."""
    hosts = [host for host in chain_custody(usual_hosts(5)) if host.name != "worker-3"]
    hosts = [replace(hosts[0], stages=(0, 3, 4), duplicates=(2,)), *hosts[1:]]
    plan = make_plan("gpipe", 5, 2, hosts, when="before_commit", topology="star")
    route = route_of(plan, run="test", view=0, attempt=1, step=4)
    signed = Identity("worker-3").sign(SETTLEMENT)
    got, server = serve([("worker-3", relay("worker-1", signed)), ("worker-1", relay("worker-3", signed))], route)
    assert passed(got) == {}
    assert sum(server.dropped.counts.values()) == 2


def test_hosts_of_a_star_reach_the_centre_alone() -> None:
    network = StarNetwork()
    for name in (*HOSTS, COORDINATOR, SERVER):
        network.join(name)
    for sender, destination in (("worker-1", COORDINATOR), ("worker-1", SERVER), (SERVER, "worker-1")):
        network.deliver(sender, destination, Stop())
    for sender, destination in (("worker-1", "worker-2"), ("worker-1", "initiator"), ("initiator", "worker-1")):
        with pytest.raises(TransportError, match=f"SW-T106: {sender} sends to {destination} past the server"):
            network.deliver(sender, destination, Stop())
    with pytest.raises(TransportError, match="SW-T101"):
        network.deliver(SERVER, "nobody", Stop())
