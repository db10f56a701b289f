"""What a lane carries: bundles of pieces, written and read without copying a tensor's bytes more often than needed.

`wire.proto` says what a bundle is: a `Piece`, and what comes with it in `more`. Protobuf would copy the bytes of a
part four times on their way out and three times on their way in. So parts are written by hand, which is one copy, and
read by hand where they are written as they are here; everything else goes through protobuf, which reads the same out
of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from shieldwall.transport.remote import wire_pb2 as wire

_PART, _MORE = 0x1A, 0x7A
"""Tags of `Piece.part` and `Piece.more`."""
_CONTENT_TAGS = (0x0A, 0x12, _PART, 0x22)
_NUMBER, _TENSOR, _OFFSET, _CONTENT = 0x08, 0x10, 0x18, 0x22
"""Tags of `Part`'s fields."""
_MOST_PIECES = 4096
"""In one bundle: empty ones have two bytes on the wire and fifty times as many in memory."""
_MAX_VARINT_BYTES = 9
"""Below 2^63, where no rule about what is cut off is needed."""


@dataclass(frozen=True, slots=True)
class Part:
    """`wire.Part` whose content is a view of somebody's memory."""

    number: int
    tensor: int
    offset: int
    content: memoryview


AnyPiece = wire.Piece | Part


class _OtherwiseWritten(Exception):  # noqa: N818 (control flow inside the module, never shown)
    """Nothing is wrong, perhaps; protobuf shall look at it."""


def as_part(part: wire.Part) -> Part:
    """The same part."""
    return Part(part.number, part.tensor, part.offset, memoryview(part.content))


def nbytes_of(piece: AnyPiece) -> int:
    """About how many bytes a piece has on the wire."""
    return piece.content.nbytes if isinstance(piece, Part) else piece.ByteSize()


def write_bundle(pieces: Sequence[AnyPiece]) -> bytes:
    """One or more pieces as one message of `Carry`."""
    chunks: list[bytes | memoryview] = []
    for place, piece in enumerate(pieces):
        written = _written_part(piece) if isinstance(piece, Part) else [piece.SerializeToString()]
        if place:
            length = sum(len(chunk) for chunk in written)
            chunks.append(bytes((_MORE,)) + _varint(length))
        chunks += written
    return b"".join(chunks)


def read_bundle(content: bytes) -> list[AnyPiece]:
    """The pieces of one message of `Carry`: one or more.

    Raises:
        google.protobuf.message.DecodeError: it is none, or has more pieces than anybody sends at once.
    """
    try:
        return _read_by_hand(memoryview(content))
    except (_OtherwiseWritten, IndexError):
        first = wire.Piece.FromString(content)
        _refuse_too_many(len(first.more))
        more = list(first.more)
        del first.more[:]
        return [first, *more]


def _refuse_too_many(count: int) -> None:
    if count >= _MOST_PIECES:
        raise DecodeError(f"more than {_MOST_PIECES:,} pieces in one message")


def _written_part(part: Part) -> list[bytes | memoryview]:
    fields = bytearray()
    for tag, value in ((_NUMBER, part.number), (_TENSOR, part.tensor), (_OFFSET, part.offset)):
        if value:  # zero is written as nothing
            fields.append(tag)
            fields += _varint(value)
    if part.content.nbytes:
        fields.append(_CONTENT)
        fields += _varint(part.content.nbytes)
    head = bytes((_PART,)) + _varint(len(fields) + part.content.nbytes)
    return [head + fields, part.content]


def _read_by_hand(view: memoryview) -> list[AnyPiece]:
    if view[0] not in _CONTENT_TAGS:
        raise _OtherwiseWritten
    length, start = _read_varint(view, 1)
    end = start + length
    pieces = [_read_piece(view, 0, end)]
    while end < len(view):
        if view[end] != _MORE:
            raise _OtherwiseWritten
        length, start = _read_varint(view, end + 1)
        end = start + length
        _refuse_too_many(len(pieces))
        pieces.append(_read_piece(view, start, end))
    return pieces


def _read_piece(view: memoryview, start: int, end: int) -> AnyPiece:
    """The piece in `view[start:end]`."""
    if not start < end <= len(view):
        raise _OtherwiseWritten
    if view[start] != _PART:
        return wire.Piece.FromString(bytes(view[start:end]))
    length, at = _read_varint(view, start + 1)
    if at + length != end:
        raise _OtherwiseWritten
    values = {_NUMBER: 0, _TENSOR: 0, _OFFSET: 0}
    for tag in values:
        if view[at] == tag:
            values[tag], at = _read_varint(view, at + 1)
    if view[at] != _CONTENT or values[_TENSOR] >> 32:
        raise _OtherwiseWritten
    length, at = _read_varint(view, at + 1)
    if at + length != end:
        raise _OtherwiseWritten
    return Part(values[_NUMBER], values[_TENSOR], values[_OFFSET], view[at:end])


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = view[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if place and not byte:  # longer than it need be
                raise _OtherwiseWritten
            return value, at + place + 1
    raise _OtherwiseWritten
