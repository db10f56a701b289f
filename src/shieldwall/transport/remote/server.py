"""The port that workers dial: who is there is seen from its certificate, what it sends goes to the hub."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from shieldwall.core.arithmetic import ArithmeticClass
from shieldwall.core.errors import EnrolmentError, ShieldwallError, TicketError, TransportError
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, bad_request
from shieldwall.transport.identity.fit import check_fit
from shieldwall.transport.identity.members import Invitation, Member
from shieldwall.transport.identity.reply import refusal_bytes
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import SERVER_OPTIONS, handlers
from shieldwall.transport.remote.doors import Doorkeeper, Introduce, Switchboard
from shieldwall.transport.remote.lanes import AnsweredLane, greeting_in
from shieldwall.transport.remote.limits import REQUEST_S, SESSION_EVERY_S, Turnstile, limiting_options
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.probe import RunFacts, answer_probe, read_question
from shieldwall.transport.remote.refusals import session_forgotten
from shieldwall.transport.remote.trust import Trust

_GREETING_S = 10.0
"""How long a connection may say nothing before its greeting."""
_SESSION_BYTES = 16
_MAX_LANES = 16
_LAST_WORD_S = 2.0
"""How long a member that is sent away has to hear why, before its connections are cut."""


@dataclass(slots=True)
class _Session:
    session: bytes
    link: Link
    address: str
    """Where it dials from, HOST:PORT."""
    dialled: int = 0
    lanes: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    sent_away: EnrolmentError | None = None
    """Why it is not wanted any more."""


class WireServer:
    """Answers the calls of `wire.proto`.

    Args:
        hub: gets a link for each member that dials.
        gate: knows who is a member.
        allowed_bytes: how many bytes a message of a kind may have that a member sends.
        on_refused: told of everything that was refused, with where it came from.
        facts: told to machines that ask before they join.
        arithmetic: the run's class; machines of another, or of another version, are refused. None: nobody asks them.
        introduce: hears each greeting, and refuses it where it raises.
    """

    def __init__(
        self,
        hub: Switchboard,
        gate: Doorkeeper,
        allowed_bytes: Callable[[str], int],
        on_refused: Callable[[str, ShieldwallError], None],
        facts: RunFacts | None = None,
        arithmetic: ArithmeticClass | None = None,
        introduce: Introduce | None = None,
    ) -> None:
        self._hub = hub
        self._gate = gate
        self._allowed_bytes = allowed_bytes
        self._on_refused = on_refused
        self._facts = facts or RunFacts()
        self._arithmetic = arithmetic
        self._turnstile = Turnstile()
        self._introduce = introduce
        self._sessions: dict[str, _Session] = {}
        self._beginning: dict[str, asyncio.Lock] = {}
        """Held while a member's session is begun, or dialled anew."""
        self._begun_s: dict[str, float] = {}
        self._server = grpc.aio.server(options=(*SERVER_OPTIONS, *limiting_options()))
        self._server.add_generic_rpc_handlers(
            handlers(Enrol=self._enrol, Renew=self._renew, Probe=self._probe, Carry=self._carry)
        )

    async def listen(self, address: str) -> int:
        """Open the port; gives its number, which is drawn where `address` has 0.

        Raises:
            TransportError: SW-T110; it cannot be opened.
        """
        try:
            port: int = self._server.add_secure_port(address, Trust(self._gate).credentials())
        except RuntimeError as error:
            raise _no_port(address, str(error)) from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Close the port and all connections."""
        await self._hub.close()
        await self._server.stop(None)

    @property
    def addresses(self) -> dict[str, str]:
        """Where each member that is there dials from, HOST:PORT."""
        return {name: session.address for name, session in self._sessions.items()}

    async def send_away(self, name: str, why: EnrolmentError) -> None:
        """End a member's connections and its link, and tell it why. The gate decides whether it may dial again."""
        session = self._sessions.pop(name, None)
        if session is None:
            return
        session.sent_away = why
        lanes = list(session.lanes.values())
        await self._hub.detach(name)  # a lane ends with its link, and says why before it does
        if lanes:
            await asyncio.wait(lanes, timeout=_LAST_WORD_S)
        await _end(session)

    async def drop(self, name: str) -> None:
        """End a member's connections and its link; it may dial again."""
        session = self._sessions.pop(name, None)
        if session:
            await _end(session)
            await self._hub.detach(name)

    def _peer(self, context: Any) -> Invitation | Member:
        return self._gate.peer(context.auth_context()["x509_pem_cert"][0], utc_now())

    async def _answer(self, context: Any, make: Callable[[bytes, Invitation | Member], bytes]) -> None:
        """One request, one answer."""
        try:
            peer = self._peer(context)
            with self._turnstile.inside(peer):
                answer = make(await _request(context), peer)
        except (EnrolmentError, TicketError, TransportError) as error:
            await self._refuse(context, error)
        with contextlib.suppress(grpc.aio.BaseError):  # whoever asked does not wait for the answer
            await context.write(answer)

    async def _enrol(self, _: Any, context: Any) -> None:
        def make(content: bytes, peer: Invitation | Member) -> bytes:
            request = EnrolmentRequest.from_bytes(_plain(content))
            if self._arithmetic:
                check_fit(request.statement.facts, self._arithmetic)
            return _packed(self._gate.admit(request, peer, utc_now()))

        await self._answer(context, make)

    async def _renew(self, _: Any, context: Any) -> None:
        def make(content: bytes, peer: Invitation | Member) -> bytes:
            return _packed(self._gate.renew(EnrolmentRequest.from_bytes(_plain(content)), peer, utc_now()))

        await self._answer(context, make)

    async def _probe(self, _: Any, context: Any) -> None:
        def make(content: bytes, peer: Invitation | Member) -> bytes:
            told = answer_probe(read_question(content), peer, self._facts, datetime.now(UTC))
            return told.SerializeToString()

        await self._answer(context, make)

    async def _carry(self, _: Any, context: Any) -> None:
        try:
            peer = self._peer(context)
            if not isinstance(peer, Member):
                raise bad_request("a member's certificate", "a ticket's, which is good for enrolling and asking alone")
            with self._turnstile.inside(peer):
                await self._converse(peer.name, AnsweredLane(context, peer.name), _address_of(context.peer()))
        except ConnectionError:
            return
        except (EnrolmentError, TransportError) as error:
            await self._refuse(context, error)

    async def _converse(self, name: str, lane: AnsweredLane, address: str) -> None:
        """One lane, from its greeting until it ends.

        Raises:
            ConnectionError: the connection is broken.
            EnrolmentError: SW-T230 or SW-T231, the machine does not fit; or why it was sent away.
            TransportError: SW-T107, SW-T108, it sends what it should not, and its link is ended; SW-T111.
        """
        hello = await _greeting(lane, name)
        delivered = await self._introduce(name, hello, address) if self._introduce else 0
        async with self._beginning.setdefault(name, asyncio.Lock()):
            session = await self._begin(name, hello, address)
        if hello.lane in session.lanes:
            raise _garbled_greeting(name, "each lane once", f"lane {hello.lane} again")
        greeting = wire.Hello(
            session=hello.session,
            dialled=hello.dialled,
            lane=hello.lane,
            received=session.link.received,
            delivered=delivered,
        )
        task = asyncio.current_task()
        if task:
            session.lanes[hello.lane] = task
        try:
            await lane.write([wire.Piece(hello=greeting)])
            await session.link.carry(lane)
            if session.sent_away:
                raise session.sent_away
        except TransportError:
            if self._sessions.get(name) is session:
                del self._sessions[name]
                await self._hub.detach(name)
            raise
        finally:
            if session.lanes.get(hello.lane) is task:
                del session.lanes[hello.lane]

    async def _begin(self, name: str, hello: wire.Hello, address: str) -> _Session:
        """The session that a greeting belongs to: a new one, the one that stands, or that one dialled anew."""
        session = self._sessions.get(name)
        if session is None or session.session != hello.session or session.link.closed:
            if not hello.fresh:
                raise session_forgotten(name)
            if self._arithmetic:
                check_fit(hello.machine, self._arithmetic)
            await self._pace(name)
            if session:
                await _end(session)
            session = _Session(hello.session, Link(name, self._allowed_bytes), address)
            self._sessions[name] = session
            await self._hub.attach(session.link)
        if hello.dialled < session.dialled:
            raise _garbled_greeting(name, f"dialled for the {session.dialled}th time or later", str(hello.dialled))
        if hello.dialled > session.dialled:
            session.dialled, session.address = hello.dialled, address
            await _end(session)
            await session.link.begin(hello.received)
        return session

    async def _pace(self, name: str) -> None:
        """Nobody begins sessions faster than the run can take note of them."""
        early_s = self._begun_s.get(name, -math.inf) + SESSION_EVERY_S - time.monotonic()
        if early_s > 0:
            await asyncio.sleep(early_s)
        self._begun_s[name] = time.monotonic()

    async def _refuse(self, context: Any, error: ShieldwallError) -> NoReturn:
        self._on_refused(context.peer(), error)
        forgotten = error.code == "SW-T111"
        code = grpc.StatusCode.FAILED_PRECONDITION if forgotten else grpc.StatusCode.PERMISSION_DENIED
        told = refusal_bytes(error) if isinstance(error, EnrolmentError | TicketError) else str(error).encode()
        await context.abort(code, told.decode())
        raise error


async def _request(context: Any) -> bytes:
    """The one message of a call."""
    try:
        content = await asyncio.wait_for(context.read(), REQUEST_S)
    except (TimeoutError, grpc.aio.BaseError) as error:
        raise garbled("a call", f"a request within {REQUEST_S:g} s", "nothing") from error
    if content is grpc.aio.EOF:
        raise garbled("a call", "a request", "the end")
    return bytes(content)


def _plain(content: bytes) -> bytes:
    try:
        return wire.Plain.FromString(content).json
    except DecodeError as error:
        raise bad_request("a Plain of wire.proto", f"{len(content):,} bytes that are none") from error


def _packed(answer: EnrolmentAnswer) -> bytes:
    return wire.Plain(json=answer.to_bytes()).SerializeToString()


def _address_of(peer: str) -> str:
    """HOST:PORT from what gRPC calls a peer, such as `ipv4:127.0.0.1:40000` or `ipv6:%5B::1%5D:40000`."""
    return unquote(peer.partition(":")[2])


async def _end(session: _Session) -> None:
    lanes = [task for task in session.lanes.values() if task is not asyncio.current_task()]
    session.lanes.clear()
    for lane in lanes:
        lane.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)


async def _greeting(lane: AnsweredLane, name: str) -> wire.Hello:
    try:
        pieces = await asyncio.wait_for(lane.read(), _GREETING_S)
    except TimeoutError as error:
        raise _garbled_greeting(name, f"a greeting within {_GREETING_S:g} s", "nothing") from error
    hello = greeting_in(pieces)
    if hello is None:
        raise _garbled_greeting(name, "a greeting", "something else" if pieces else "the end")
    if len(hello.session) != _SESSION_BYTES or hello.lane >= _MAX_LANES:
        raise _garbled_greeting(name, f"a session of {_SESSION_BYTES} bytes and at most {_MAX_LANES} lanes", str(hello))
    return hello


def _garbled_greeting(name: str, expected: str, got: str) -> TransportError:
    return garbled(f"the greeting of {name}", expected, got)


def _no_port(address: str, why: str) -> TransportError:
    return TransportError(
        "SW-T110",
        f"{address} cannot be listened on",
        where=address,
        expected="an address of this machine and a port that nobody uses",
        got=why[:200],
        remedy="give another port to --listen, or stop the process that has it (ss -ltnp shows it)",
    )
