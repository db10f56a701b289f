"""The sending end of the wire benchmark, in a process of its own: `python -m shieldwall.lab.wire_peer TASK`.

TASK is JSON, as `PeerTask` says. On each line it stands with two connections that both use mutual TLS with the same
certificates: one as a worker of a run, one of asyncio's streams. An order is a line of JSON: `line` (its place), `way`
(`shieldwall` or `plain`), `frames` and `nbytes` of each. It sends the frames one behind the other, waits until the
receiver says that it has all of them, and answers with the `seconds` that this took.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import TensorFrame
from shieldwall.transport.identity.authority import SERVER_HOST
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.identity.ticket import read_ticket
from shieldwall.transport.remote.dialer import Dialer, RemoteEndpoint
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import Passport, enter

SINK = "sink"
"""The receiver's name among the parties of the initiator."""
WAYS = ("shieldwall", "plain")
_ROOMY_BYTES = 1 << 30
_PATIENCE_S = 120.0

Send = Callable[[int, int], Awaitable[None]]
"""Sends frames of some bytes each, and comes back when the receiver has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTask:
    """What the process shall do.

    Args:
        tickets: one for each line; each is entered at the addresses that it names.
        wire_ports: where each line to the run's port begins.
        plain_ports: where each line to the port of asyncio's streams begins.
        home: a folder for keys.
    """

    tickets: Sequence[str]
    wire_ports: Sequence[int]
    plain_ports: Sequence[int]
    home: str


@lru_cache(maxsize=8)
def content(nbytes: int) -> Tensor:
    """What every frame of a size holds, the same at both ends: (nbytes,) uint8."""
    return torch.randint(256, (nbytes,), generator=torch.Generator().manual_seed(nbytes), dtype=torch.uint8)


def slot_of(number: int) -> Slot:
    """A slot for a frame that belongs to no run."""
    return Slot(run="wire", view=0, attempt=0, step=0, micro_batch=number, direction=Direction.FORWARD, stage=0)


async def _serve(task: PeerTask) -> None:
    async with AsyncExitStack() as standing:
        lines = []
        for number, ticket in enumerate(task.tickets):
            home = standing.enter_context(open_home(Path(task.home) / f"line-{number}"))
            passport = await enter(home, read_ticket(ticket))
            ours = await standing.enter_async_context(_our_way(passport, task.wire_ports[number]))
            trust = _trust(passport, read_ticket(ticket).authority_pem, home.folder)
            plain = await standing.enter_async_context(_plain_way(trust, task.plain_ports[number]))
            lines.append({"shieldwall": ours, "plain": plain})
        _say({"ready": True})
        while order := await asyncio.to_thread(sys.stdin.readline):
            _say(await _obey(json.loads(order), lines))


async def _obey(order: Mapping[str, Any], lines: Sequence[Mapping[str, Send]]) -> dict[str, Any]:
    start = time.perf_counter()
    await lines[order["line"]][order["way"]](order["frames"], order["nbytes"])
    return {"seconds": time.perf_counter() - start}


@asynccontextmanager
async def _our_way(passport: Passport, port: int) -> AsyncIterator[Send]:
    """As a worker stands: one link that is dialled, kept, and acknowledged."""
    link = Link("initiator", lambda _: _ROOMY_BYTES)
    dialer = Dialer(
        link=link,
        addresses=[f"127.0.0.1:{port}"],
        open_channel=passport.open_channel,
        patience_s=_PATIENCE_S,
        on_change=lambda _: None,
    )
    keeping = asyncio.create_task(dialer.keep())
    endpoint = RemoteEndpoint(passport.name, link)

    async def send(frames: int, nbytes: int) -> None:
        tensor = content(nbytes)
        for number in range(frames):
            slot = slot_of(number)
            await endpoint.send(SINK, TensorFrame(slot=slot, source=passport.name, destination=SINK, tensor=tensor))
        await endpoint.receive()

    try:
        yield send
    finally:
        await link.close()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@asynccontextmanager
async def _plain_way(trust: ssl.SSLContext, port: int) -> AsyncIterator[Send]:
    """As anybody would write it: the length, the bytes, and at the end one byte back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=SERVER_HOST)

    async def send(frames: int, nbytes: int) -> None:
        raw = content(nbytes).numpy().data
        for number in range(frames):
            writer.write(nbytes.to_bytes(8, "big") + bytes([number == frames - 1]))
            writer.write(raw)
            await writer.drain()
        await reader.readexactly(1)

    try:
        yield send
    finally:
        writer.close()


def _trust(passport: Passport, authority_pem: bytes, folder: Path) -> ssl.SSLContext:
    """The worker's certificate, and the run's authority to judge the other end by."""
    shown = passport.membership.credential
    file = folder / "plain.pem"
    file.touch(mode=0o600)
    file.write_bytes(shown.private_key_pem + shown.certificate_chain_pem)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=authority_pem.decode())
    trust.load_cert_chain(file)
    return trust


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(PeerTask(**json.loads(sys.argv[1]))))
