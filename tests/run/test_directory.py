"""The initiator's directory: it believes each worker's word about itself, and shows no more of it than fits."""

from __future__ import annotations

import asyncio

import pytest
import torch

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import DIRECTORY, Direction, Slot
from shieldwall.core.messages import Message, TensorFrame, Ways
from shieldwall.run.machines.directory import Directory, relayed_in_words, summary
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.witness import HubWitness


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", "host:0", "host:70000", ":7700", "unix:/run/x:1", "dns:///host:7700", "a b:7700", "[x]:7700"],
)
def test_what_cannot_be_dialled_is_refused(address: str) -> None:
    directory = Directory(1.0, lambda _: None)
    with pytest.raises(TransportError, match="SW-T107"):
        asyncio.run(directory.introduce("worker-1", wire.Hello(listens=[address]), "192.0.2.8:40000"))
    with pytest.raises(TransportError, match="SW-T107"):
        asyncio.run(directory.introduce("worker-1", wire.Hello(listens=["host:7700"] * 9), "192.0.2.8:40000"))


def ways_after(*told: tuple[str, Message]) -> tuple[dict[str, str], list[str]]:
    """Those of worker-1 after workers have told this, where worker-2 and worker-3 listen; and the run's notes."""
    notes: list[str] = []

    async def play() -> dict[str, str]:
        directory = Directory(1.0, notes.append)
        hub = Hub(lambda *_: True, lambda *_: None)
        directory.open(hub)
        for name, addresses in {
            "worker-1": [],
            "worker-2": ["host:1"],
            "worker-3": ["[::1]:2"],
            "worker-10": [],
        }.items():
            await directory.introduce(name, wire.Hello(listens=addresses), "192.0.2.8:40000")
            directory.admit(name)
        hearing = asyncio.create_task(directory.watch())
        for sender, message in told:
            await hub.send(sender, DIRECTORY, message)
        await asyncio.sleep(0)
        await directory.settle(0.2)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        return directory.ways_of("worker-1")

    return asyncio.run(play()), notes


def test_each_worker_speaks_for_itself() -> None:
    own = Ways(host="worker-1", direct=("worker-2", "worker-10", "stranger"), relayed={"worker-3": "no\x1b[2J answer"})
    foreign = Ways(host="worker-1", direct=("worker-2", "worker-3"), relayed={})
    ways, notes = ways_after(("worker-1", own), ("worker-2", foreign))
    assert ways == {
        "worker-2": "direct",
        "worker-3": "relayed: no[2J answer",
        "worker-10": "relayed: no --listen",
    }
    assert len(notes) == 1
    assert ways_after(("worker-2", foreign))[0] == {"worker-10": "relayed: no --listen"}


def test_ways_in_words() -> None:
    assert summary({("a", "b"): "direct", ("b", "a"): "direct"}) == "between workers: all direct"
    assert summary({("a", "b"): "direct", ("a", "c"): "direct", ("b", "a"): "relayed: no --listen"}) == (
        "a -> b, c direct; b -> a relayed: no --listen"
    )
    assert relayed_in_words({}) == "nothing"
    many = {("worker-1", f"worker-{number}"): 1000 for number in range(2, 16)}
    assert relayed_in_words(many).startswith("worker-1 -> worker-2 1,000 bytes; worker-1 -> worker-3 1,000 bytes; ")
    assert relayed_in_words(many).endswith("worker-1 -> worker-13 1,000 bytes; 2 more ways 2,000 bytes")


def test_what_may_go_directly_is_neither_seen_nor_withheld() -> None:
    async def play() -> None:
        directory, hub = Directory(1.0, lambda _: None), Hub(lambda *_: True, lambda *_: None)
        directory.open(hub)
        hub.join("worker-2")  # as good as a worker to what passes
        for name, addresses in (("worker-1", []), ("worker-2", ["host:1"]), ("worker-3", [])):
            await directory.introduce(name, wire.Hello(listens=addresses), "192.0.2.8:40000")
            directory.admit(name)
        witness = HubWitness(hub, directory.goes_directly)
        slot = Slot(run="r", view=0, attempt=0, step=1, micro_batch=0, direction=Direction.FORWARD, stage=1)
        assert witness.passed(slot, "worker-1", "worker-2") is None
        assert witness.passed(slot, "worker-1", "worker-3") is False
        assert witness.passed(slot, "initiator", "worker-2") is False
        frame = TensorFrame(slot=slot, source="worker-1", destination="worker-2", tensor=torch.zeros(1))
        await hub.send("worker-1", "worker-2", frame)
        assert witness.passed(slot, "worker-1", "worker-2") is True
        directory.forget("worker-2")
        assert HubWitness(hub, directory.goes_directly).passed(slot, "worker-3", "worker-2") is False

    asyncio.run(play())
