"""Sends such inputs to an open port, as a stranger, as a guest and as a member, many at once and again and again.

tcp      noise into a socket
tls      a handshake without a certificate or as a guest, and nothing after it
http2    a guest's handshake, and then frames that lie
guest    calls of all methods with spoiled requests, by a guest and by a member
member   letters of a member, spoiled; one input is one letter
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import grpc

from shieldwall.lab.fuzz.inputs import frames, letters, mutate, noise, pieces
from shieldwall.transport.identity.certificates import Credential
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.identity.ticket import Ticket
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import SERVICE, open_channel
from shieldwall.transport.remote.passport import Passport, enter

SHARES = {"tcp": 0.35, "tls": 0.1, "http2": 0.15, "guest": 0.2, "member": 0.2}
"""Of the inputs, by kind."""
_ABORTED = (OSError, ssl.SSLError, EOFError, TimeoutError)
_ANSWER_S = 30.0
_STREAM_LETTERS = 20
_STREAM_S = 5.0
_LAST_WORD_S = 0.2


@dataclass(slots=True)
class Sent:
    """What has been sent."""

    inputs: Counter[str] = field(default_factory=Counter)
    """By kind."""
    refused: Counter[str] = field(default_factory=Counter)
    """Calls and streams that the port has ended, by the status of gRPC."""

    @property
    def all(self) -> int:
        """Inputs of all kinds."""
        return self.inputs.total()


@dataclass(frozen=True, slots=True)
class Assault:
    """Made by `assault`.

    Args:
        host: of the port.
        port: its number.
        bare: TLS as somebody without a certificate.
        guest: TLS as a guest.
        channel: of a guest.
        members: who send letters.
        machine: what they say of themselves.
        sent: is counted here.
    """

    host: str
    port: int
    bare: ssl.SSLContext
    guest: ssl.SSLContext
    channel: grpc.aio.Channel
    members: Sequence[grpc.aio.Channel]
    machine: dict[str, str]
    sent: Sent

    async def send(
        self,
        inputs: int,
        seed: str,
        on_input: Callable[[], None] = lambda: None,
        *,
        kinds: Sequence[str] = tuple(SHARES),
        together: int = 8,
    ) -> None:
        """So many inputs of these kinds, in their shares.

        Args:
            inputs: how many.
            seed: of all of them.
            on_input: called after each.
            kinds: of `SHARES`.
            together: how many strangers, and as many guests, send at once; of members all do.
        """
        whole = sum(SHARES[kind] for kind in kinds)
        parts = {kind: round(SHARES[kind] / whole * inputs) for kind in kinds}
        crowds = dict.fromkeys(kinds, together) | {"member": len(self.members)}
        await asyncio.gather(
            *(self._send_kind(kind, part, f"{seed}/{kind}", on_input, crowds[kind]) for kind, part in parts.items())
        )

    async def _send_kind(self, kind: str, inputs: int, seed: str, on_input: Callable[[], None], crowd: int) -> None:
        shares = [inputs // crowd + (place < inputs % crowd) for place in range(crowd)]
        await asyncio.gather(
            *(
                self._send_alone(kind, place, share, Random(f"{seed}/{place}"), on_input)
                for place, share in enumerate(shares)
            )
        )

    async def _send_alone(self, kind: str, place: int, inputs: int, rng: Random, on_input: Callable[[], None]) -> None:
        done = 0
        while done < inputs:
            if kind == "member":
                count = await self._converse(self.members[place], rng, min(_STREAM_LETTERS, inputs - done))
            else:
                count = 1
                await {"tcp": self._tcp, "tls": self._tls, "http2": self._http2, "guest": self._call}[kind](rng)
            done += count
            self.sent.inputs[kind] += count
            for _ in range(count):
                on_input()

    async def _tcp(self, rng: Random) -> None:
        await self._write(noise(rng), None)

    async def _tls(self, rng: Random) -> None:
        await self._write(b"", rng.choice((self.bare, self.guest)))

    async def _http2(self, rng: Random) -> None:
        await self._write(frames(rng), self.guest)

    async def _write(self, content: bytes, tls: ssl.SSLContext | None) -> None:
        """Connect, write, and be gone, in order or not."""
        with contextlib.suppress(*_ABORTED):
            opening = asyncio.open_connection(self.host, self.port, ssl=tls)
            _, writer = await asyncio.wait_for(opening, _ANSWER_S)
            try:
                writer.write(content)
                await asyncio.wait_for(writer.drain(), _ANSWER_S)
            finally:
                writer.transport.abort() if content and content[0] % 2 else writer.close()

    async def _call(self, rng: Random) -> None:
        method = rng.choice(("Enrol", "Renew", "Probe", "Carry", "Run"))
        valid = wire.Plain(json=b'{"statement": {}, "signing_key": "00", "signature": "00"}').SerializeToString()
        if method == "Probe":
            valid = wire.Question(load=b"abc", load_back_bytes=rng.choice((0, 5, 2**32 - 1))).SerializeToString()
        channel = rng.choice((self.channel, *self.members))
        call = channel.unary_unary(f"/{SERVICE}/{method}")
        await self._count(call(mutate(valid, rng), timeout=_ANSWER_S))

    async def _count(self, call: grpc.aio.Call) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            self.sent.refused[error.code().name] += 1

    async def _converse(self, channel: grpc.aio.Channel, rng: Random, inputs: int) -> int:
        """A stream with spoiled letters until the port ends it, or waits for a head that never comes."""
        call = channel.stream_stream(f"/{SERVICE}/Carry")()
        hello = wire.Hello(session=rng.randbytes(16), dialled=1, fresh=True, machine=self.machine)
        sent = 0
        try:
            async with asyncio.timeout(_STREAM_S):
                await call.write(wire.Piece(hello=hello).SerializeToString())
                await call.read()
                reading = asyncio.create_task(_read_out(call))
                while sent < inputs and not reading.done():
                    sent += 1
                    for piece in pieces(rng.choice(_LETTERS), sent, rng):
                        await call.write(piece)
                    await asyncio.sleep(0)
                await asyncio.wait({reading}, timeout=_LAST_WORD_S)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            pass  # it is over, one way or another
        finally:
            call.cancel()
        self.sent.refused[(await call.code()).name] += 1
        return max(sent, 1)


_LETTERS = letters()


async def _read_out(call: grpc.aio.StreamStreamCall) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass


@asynccontextmanager
async def assault(address: str, gate: Gate, machine: dict[str, str], *, members: int) -> AsyncIterator[Assault]:
    """Somebody who has got tickets of the run at `address`, for a guest and for so many members.

    Args:
        address: HOST:PORT.
        gate: of that run, to make the tickets.
        machine: what the members say of themselves; one that the run takes.
        members: how many.
    """
    host, _, port = address.rpartition(":")
    with tempfile.TemporaryDirectory() as scratch:
        async with AsyncExitStack() as standing:
            lasts = timedelta(days=1)
            theirs = gate.invite(uses=members, lasts=lasts, now=utc_now(), addresses=[address])
            guests = gate.invite(uses=1, lasts=lasts, now=utc_now(), addresses=[address])
            passports = [
                await _joined(Path(scratch) / f"member-{number}", theirs, machine) for number in range(members)
            ]
            channels = [await standing.enter_async_context(passport.open_channel(address)) for passport in passports]
            guest = await standing.enter_async_context(open_channel(address, guests.authority_pem, guests.guest))
            yield Assault(
                host=host,
                port=int(port),
                bare=_context(None, Path(scratch)),
                guest=_context(guests.guest, Path(scratch)),
                channel=guest,
                members=channels,
                machine=machine,
                sent=Sent(),
            )


async def _joined(home: Path, ticket: Ticket, machine: dict[str, str]) -> Passport:
    with open_home(home) as opened:
        return await enter(opened, ticket, wish="fuzz", facts=machine)


def _context(shown: Credential | None, folder: Path) -> ssl.SSLContext:
    """TLS of somebody who does not care whom it talks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if shown:
        file = folder / "guest.pem"
        file.touch(mode=0o600)
        file.write_bytes(shown.private_key_pem + shown.certificate_chain_pem)
        context.load_cert_chain(file)
    return context


class Idlers:
    """Connections that say nothing, or half of something, and are opened anew when the port closes them.

    Args:
        host: of the port.
        port: its number.
        count: how many are held at once.
    """

    def __init__(self, host: str, port: int, count: int) -> None:
        self._host, self._port, self._count = host, port, count
        self._tasks: list[asyncio.Task[None]] = []
        self._open = 0
        self.closed = 0
        """How often the port has closed one."""

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return self._open

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Idlers]:
        """They are there while the block runs."""
        self._tasks = [asyncio.create_task(self._idle(number)) for number in range(self._count)]
        try:
            while self._open < self._count and not self.closed:
                await asyncio.sleep(0.01)
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _idle(self, number: int) -> None:
        while True:
            with contextlib.suppress(*_ABORTED):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                self._open += 1
                try:
                    writer.write(b"\x16\x03\x01\x02" if number % 2 else b"")  # the beginning of half a handshake
                    await reader.read(1)
                    self.closed += 1
                finally:
                    self._open -= 1
                    writer.transport.abort()
            await asyncio.sleep(random.random())
