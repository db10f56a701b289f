"""A call of gRPC as a lane, from the end that dials and from the end that listens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.pieces import AnyPiece, read_bundle, write_bundle
from shieldwall.transport.remote.refusals import read_answer, session_forgotten


class DialledLane:
    """The end that dials.

    Args:
        call: of the stub.
        peer: who listens, for messages.
    """

    def __init__(self, call: Any, peer: str) -> None:
        self._call = call
        self._peer = peer

    async def read(self) -> Sequence[AnyPiece] | None:
        """As `Lane.read`.

        Raises:
            TransportError: SW-T109, the other end will not have this one; SW-T111, it does not know the session;
                SW-T107, it sends what is no piece.
        """
        try:
            content = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._heed(error.code(), str(error.details()))
            return None
        if content is not grpc.aio.EOF:
            return read_pieces(content, self._peer)
        self._heed(await self._call.code(), str(await self._call.details()))
        return None

    async def write(self, pieces: Sequence[AnyPiece]) -> None:
        try:
            await self._call.write(write_bundle(pieces))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise ConnectionError(str(error)) from error

    def _heed(self, code: grpc.StatusCode, details: str) -> None:
        """Raise what the other end has answered, where dialling again would be of no use."""
        if code is grpc.StatusCode.PERMISSION_DENIED:
            raise read_answer(self._peer, details)
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            raise session_forgotten(self._peer)


class AnsweredLane:
    """The end that listens.

    Args:
        context: of the call.
        peer: who dials, for messages.
    """

    def __init__(self, context: Any, peer: str) -> None:
        self._context = context
        self._peer = peer

    async def read(self) -> Sequence[AnyPiece] | None:
        """As `Lane.read`.

        Raises:
            TransportError: SW-T107; the other end sends what is no piece.
        """
        try:
            content = await self._context.read()
        except grpc.aio.BaseError:
            return None
        return None if content is grpc.aio.EOF else read_pieces(content, self._peer)

    async def write(self, pieces: Sequence[AnyPiece]) -> None:
        try:
            await self._context.write(write_bundle(pieces))
        except grpc.aio.BaseError as error:
            raise ConnectionError(str(error)) from error


def greeting_in(pieces: Sequence[AnyPiece] | None) -> wire.Hello | None:
    """The greeting, where that is what came and nothing came with it."""
    first = pieces[0] if pieces and len(pieces) == 1 else None
    return first.hello if isinstance(first, wire.Piece) and first.WhichOneof("content") == "hello" else None


def read_pieces(content: bytes, peer: str) -> list[AnyPiece]:
    """The pieces of one message.

    Raises:
        TransportError: SW-T107; they are none.
    """
    try:
        return read_bundle(content)
    except DecodeError as error:
        raise garbled(
            f"a piece from {peer}", "a Piece of wire.proto", f"{len(content):,} bytes that are none"
        ) from error
