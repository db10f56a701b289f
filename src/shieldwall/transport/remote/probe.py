"""Looking at a run without taking part: what it tells a machine before it joins, and how good the line to it is.

Nothing is written down of a probe, no use of a ticket is taken. What it may cost the run is bounded: a load is at most
one part of a letter, each way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

import grpc
from google.protobuf.message import DecodeError

from shieldwall.core.errors import TransportError
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.identity.members import Invitation, Member
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.channel import SERVICE
from shieldwall.transport.remote.link import PART_BYTES

LARGEST_LOAD_BYTES = PART_BYTES
_LONGEST_WORD = 64


class Standing(Enum):
    """As whom a run takes whoever asks."""

    MEMBER = wire.MEMBER
    GUEST = wire.GUEST
    """Holds a ticket that lets one more in."""
    EXPIRED = wire.EXPIRED
    """Holds a ticket whose time is over by the clock of the run."""
    USED_UP = wire.USED_UP
    """Holds a ticket with which as many have come as it was for; they alone can come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run tells to whom may join."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Version by package."""
    worker_bytes: int = 0
    """What the plan needs of the memory of the worker that needs most."""
    frame_bytes: int = 0
    """The largest tensor that crosses a border of stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run's answer to one who asked."""

    time: datetime
    """The clock of the run when it answered."""
    standing: Standing
    facts: RunFacts


def answer_probe(question: wire.Question, peer: Invitation | Member, facts: RunFacts, now: datetime) -> wire.Told:
    """What the run says to a question.

    Args:
        question: from over a connection of `peer`.
        peer: whoever asks.
        facts: of the run; its sizes are for those alone who may join.
        now: this machine's time.

    Raises:
        TransportError: SW-T107; it is larger than a probe may be, or wants more back.
    """
    largest = max(len(question.load), question.load_back_bytes)
    if largest > LARGEST_LOAD_BYTES:
        raise garbled("a probe", f"at most {LARGEST_LOAD_BYTES:,} bytes each way", f"{largest:,}")
    standing = _standing(peer, now)
    told = wire.Told(
        time_s=now.timestamp(),
        versions=facts.versions,
        standing=standing.value,
        load=bytes(question.load_back_bytes),
    )
    if standing in (Standing.MEMBER, Standing.GUEST):
        told.worker_bytes, told.frame_bytes = facts.worker_bytes, facts.frame_bytes
    return told


def read_question(content: bytes) -> wire.Question:
    """A question from its bytes.

    Raises:
        TransportError: SW-T107; they are none.
    """
    try:
        return wire.Question.FromString(content)
    except DecodeError as error:
        raise garbled("a probe", "a Question of wire.proto", f"{len(content):,} bytes that are none") from error


class Prober:
    """Asks a run over a channel.

    Args:
        channel: to one of its addresses.
        answer_s: for how long it waits for each answer.

    Every method raises `grpc.aio.AioRpcError` where there is no answer, or none that is wanted.
    """

    def __init__(self, channel: grpc.aio.Channel, answer_s: float) -> None:
        self._call = channel.unary_unary(
            f"/{SERVICE}/Probe",
            request_serializer=wire.Question.SerializeToString,
            response_deserializer=wire.Told.FromString,
        )
        self._answer_s = answer_s

    async def ask(self) -> Told:
        """What the run says of itself, and of whoever asks.

        Raises:
            TransportError: SW-T107; the answer cannot be read.
        """
        told: wire.Told = await self._call(wire.Question(), timeout=self._answer_s)
        return _read(told)

    async def carry(self, there_bytes: int = 0, back_bytes: int = 0) -> float:
        """Seconds until so many bytes were there and so many back; either at most `LARGEST_LOAD_BYTES`.

        Raises:
            TransportError: SW-T107; others came back than were asked for.
        """
        question = wire.Question(load=bytes(there_bytes), load_back_bytes=back_bytes)
        began_s = time.perf_counter()
        told: wire.Told = await self._call(question, timeout=self._answer_s)
        took_s = time.perf_counter() - began_s
        if len(told.load) != back_bytes:
            raise _unreadable(f"{back_bytes:,} bytes", f"{len(told.load):,}")
        return took_s


def _standing(peer: Invitation | Member, now: datetime) -> Standing:
    if isinstance(peer, Member):
        return Standing.MEMBER
    if peer.is_open(now):
        return Standing.GUEST
    return Standing.EXPIRED if now >= peer.expires else Standing.USED_UP


def _read(told: wire.Told) -> Told:
    try:
        moment = datetime.fromtimestamp(told.time_s, UTC)
        standing = Standing(told.standing)
    except (ValueError, OverflowError, OSError) as error:
        raise _unreadable("a time and one of the known standings", str(error)) from error
    versions = dict(told.versions)
    if any(len(word) > _LONGEST_WORD or not word.isprintable() for pair in versions.items() for word in pair):
        raise _unreadable("names and versions of packages", "what cannot be shown")
    facts = RunFacts(versions=versions, worker_bytes=told.worker_bytes, frame_bytes=told.frame_bytes)
    return Told(time=moment, standing=standing, facts=facts)


def _unreadable(expected: str, got: str) -> TransportError:
    return garbled("the answer to a probe", expected, got)
