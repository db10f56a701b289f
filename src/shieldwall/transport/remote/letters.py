"""A message on its way with its address, and the pieces that it travels in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shieldwall.core.roots import tensor_bytes
from shieldwall.transport.codec import Packed, TensorForm
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.pieces import AnyPiece, Part


@dataclass(frozen=True, slots=True)
class Letter:
    """A packed message with who sends it, as the transport knows it, and whom it is for."""

    source: str
    destination: str
    packed: Packed
    stream: int = 0
    """Which of the streams between the two it is of, where it may take one of two ways; else 0."""
    serial: int = 0
    """Its number in the stream, from 1."""


def pieces_of(letter: Letter, number: int, part_bytes: int) -> Iterator[AnyPiece]:
    """The head, and the tensors' bytes in parts of at most `part_bytes`."""
    packed = letter.packed
    yield wire.Piece(
        head=wire.Head(
            number=number,
            source=letter.source,
            destination=letter.destination,
            kind=packed.kind,
            body=packed.body,
            tensors=[wire.Form(dtype=form.dtype, shape=form.shape) for form in packed.forms],
            stream=letter.stream,
            serial=letter.serial,
        )
    )
    for place, tensor in enumerate(packed.tensors):
        content = tensor_bytes(tensor)
        for offset in range(0, content.nbytes, part_bytes):
            yield Part(number, place, offset, content[offset : offset + part_bytes])


def forms_of(head: wire.Head) -> tuple[TensorForm, ...]:
    """What the tensors of a letter will be.

    Raises:
        TransportError: SW-T107; a type that does not travel, or a shape that is none.
    """
    return tuple(TensorForm(form.dtype, tuple(form.shape)) for form in head.tensors)
