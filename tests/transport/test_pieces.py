"""Bundles that are read and written by hand are those that protobuf reads and writes."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.pieces import AnyPiece, Part, read_bundle, write_bundle

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
PARTS = st.builds(
    lambda number, tensor, offset, content: Part(number, tensor, offset, memoryview(content)),
    NUMBERS,
    st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)),
    NUMBERS,
    st.binary(max_size=300),
)
ACKS = st.builds(lambda number, heard: wire.Piece(ack=wire.Ack(number=number, heard=heard)), NUMBERS, NUMBERS)
HEADS = st.builds(
    lambda number, body: wire.Piece(head=wire.Head(number=number, kind="SumUp", body=body)), NUMBERS, st.binary()
)
BUNDLES = st.lists(st.one_of(PARTS, ACKS, HEADS), min_size=1, max_size=5)


def plain(piece: AnyPiece) -> wire.Piece:
    """The piece as protobuf has it."""
    if isinstance(piece, wire.Piece):
        return piece
    part = wire.Part(number=piece.number, tensor=piece.tensor, offset=piece.offset, content=bytes(piece.content))
    return wire.Piece(part=part)


def as_protobuf(pieces: list[AnyPiece]) -> wire.Piece:
    """The bundle as `wire.proto` says it."""
    first, *more = map(plain, pieces)
    bundle = wire.Piece()
    bundle.CopyFrom(first)
    bundle.more.extend(more)
    return bundle


@given(BUNDLES)
def test_what_is_written_is_what_protobuf_writes(pieces: list[AnyPiece]) -> None:
    written = write_bundle(pieces)
    assert wire.Piece.FromString(written) == as_protobuf(pieces)
    assert written == as_protobuf(pieces).SerializeToString()


@given(BUNDLES)
def test_what_is_written_is_read_and_parts_are_not_copied(pieces: list[AnyPiece]) -> None:
    read = read_bundle(write_bundle(pieces))
    assert list(map(plain, read)) == list(map(plain, pieces))
    if all(piece.content.nbytes for piece in pieces if isinstance(piece, Part)):  # none is sent without content
        assert list(map(type, read)) == list(map(type, pieces))


def flat(bundle: wire.Piece) -> list[wire.Piece]:
    first = wire.Piece()
    first.CopyFrom(bundle)
    del first.more[:]
    return [first, *bundle.more]


@given(BUNDLES, st.data())
def test_whatever_comes_is_read_as_protobuf_reads_it(pieces: list[AnyPiece], data: st.DataObject) -> None:
    """A bundle with some bytes changed, cut out or put in: both read the same of it, or neither does."""
    content = bytearray(write_bundle(pieces))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + 4, len(content))))
        content[start:end] = data.draw(st.binary(max_size=4))
    try:
        expected = flat(wire.Piece.FromString(bytes(content)))
    except DecodeError:
        with pytest.raises(DecodeError):
            read_bundle(bytes(content))
        return
    assert list(map(plain, read_bundle(bytes(content)))) == expected


@pytest.mark.parametrize("empty", [b"\x22\x00", b"\x1a\x00"], ids=["by hand", "by protobuf"])
def test_a_bundle_of_very_many_pieces_is_none(empty: bytes) -> None:
    """Two bytes on the wire each, and a hundred in memory."""
    content = empty + b"\x7a\x02" + empty
    assert len(read_bundle(content)) == 2
    with pytest.raises(DecodeError, match="more than 4,096 pieces"):
        read_bundle(empty + (b"\x7a\x02" + empty) * 4096)
