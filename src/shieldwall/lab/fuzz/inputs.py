"""Bytes that nobody should send: valid ones cut, flipped, blown up and put in the wrong place, drawn from a seed."""

from __future__ import annotations

import struct
from random import Random

import torch

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Leaving, Message, Note, Played, StageState, StateReport, SumUp, TensorFrame
from shieldwall.core.signing import Identity
from shieldwall.core.statements import Settlement
from shieldwall.transport.codec import pack
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.letters import Letter, pieces_of
from shieldwall.transport.remote.pieces import write_bundle

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_PART_BYTES = 1 << 20
_SLOT = Slot(run="r", view=1, attempt=0, step=3, micro_batch=2, direction=Direction.FORWARD, stage=1)
_LONGEST_NOISE = 2000


def letters() -> list[Letter]:
    """Letters as honest workers send them, of several kinds."""
    signer = Identity("worker-9")
    tensor = torch.arange(512, dtype=torch.float32).reshape(4, 128)
    sent: list[Message] = [
        TensorFrame(slot=_SLOT, source="worker-9", destination="initiator", tensor=tensor),
        Note(signed=signer.sign(Settlement(slot=_SLOT, root_in="a", root_out="b"))),
        Played(host="worker-9", step=3, attempt=0, losses={0: torch.tensor(0.5)}, work=()),
        StateReport(host="worker-9", stage=1, state=StageState(parameters={"a": tensor})),
        SumUp(step=3),
        Leaving(host="worker-9"),
    ]
    ends = ("coordinator", "initiator", "worker-1", "nobody")
    return [Letter("worker-9", end, pack(message)) for message in sent for end in ends]


def mutate(content: bytes, rng: Random) -> bytes:
    """Valid bytes no more, or hardly ever."""
    spoiled = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(spoiled) + 1)
        match rng.randrange(5):
            case 0:
                del spoiled[place:]
            case 1 if spoiled:
                spoiled[place % len(spoiled)] ^= 1 << rng.randrange(8)
            case 2:
                spoiled[place:place] = rng.randbytes(rng.randint(1, 64))
            case 3:
                spoiled[place:place] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"  # the largest length that protobuf has
            case _:
                spoiled += spoiled[:place]
    return bytes(spoiled[: 1 << 16])


def noise(rng: Random) -> bytes:
    """What a stranger writes into a socket: noise, other protocols, the beginning of a handshake that is none."""
    raw = rng.randbytes(rng.randint(0, _LONGEST_NOISE))
    return rng.choice(
        (
            raw,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + raw,
            PREFACE + _SETTINGS + raw,
            b"\x16\x03\x01" + struct.pack(">H", rng.randrange(1 << 16)) + raw,  # a record of TLS that claims a length
            b"\x16\x03\x03\x00\x10\x01\x00\x00\x0c" + raw,
            b"SSH-2.0-x\r\n" + raw,
        )
    )


def frames(rng: Random) -> bytes:
    """After a handshake: HTTP/2 with frames that lie about their lengths, kinds and streams, and claim gigabytes."""
    written = bytearray(rng.choice((PREFACE, PREFACE, b"")) + rng.choice((_SETTINGS, _SETTINGS, b"")))
    for _ in range(rng.randint(0, 5)):
        content = rng.randbytes(rng.randint(0, 200))
        length = rng.choice((len(content), len(content), rng.randrange(1 << 24), (1 << 24) - 1))
        written += length.to_bytes(3, "big") + bytes([rng.randrange(12), rng.randrange(256)])
        written += rng.choice((0, 1, 3, rng.randrange(1 << 31))).to_bytes(4, "big") + content
    return bytes(written)


def pieces(letter: Letter, number: int, rng: Random) -> list[bytes]:
    """A letter of a member as the pieces of a stream, something about it wrong."""
    sound = [wire.Piece.FromString(write_bundle([piece])) for piece in pieces_of(letter, number, _PART_BYTES)]
    way = rng.randrange(5)
    if way == 0:
        _spoil_head(sound[0].head, rng)
    elif way == 1:
        _spoil_tensors(sound[0].head, rng)
    elif way == 2:
        sound = _out_of_place(sound, number, rng)
    elif way == 3:
        rng.shuffle(sound)
    else:
        return [mutate(piece.SerializeToString(), rng) for piece in sound]
    return [piece.SerializeToString() for piece in sound]


def _spoil_head(head: wire.Head, rng: Random) -> None:
    match rng.randrange(4):
        case 0:
            head.number = rng.choice((0, 1, head.number + 1000, 2**64 - 1))
        case 1:
            head.kind = rng.choice(("Exec", "", "Stop", "Welcome", "Gone", "TensorFrame"))
        case 2:
            head.body = rng.choice((b"[" * 50_000, b'{"step": NaN}', b'{"step": 1e999}', b"", rng.randbytes(500)))
        case _:
            head.body = mutate(head.body, rng)


def _spoil_tensors(head: wire.Head, rng: Random) -> None:
    match rng.randrange(3):
        case 0:
            head.tensors.extend([wire.Form(dtype="float32", shape=[rng.choice((10**10, 2**63, 5 * 10**9, 1 << 40))])])
        case 1:
            head.tensors.extend([wire.Form(dtype=rng.choice(("object", "", "float32", "complex64")), shape=[1] * 9)])
        case _:
            head.tensors.extend(wire.Form(dtype="float32", shape=[0]) for _ in range(rng.choice((3, 5000, 70_000))))


def _out_of_place(sound: list[wire.Piece], number: int, rng: Random) -> list[wire.Piece]:
    """Acknowledgements of nothing, parts that belong nowhere, another greeting."""
    part = wire.Part(number=rng.choice((number, 0)), tensor=rng.randrange(9), offset=rng.choice((0, 1, 2**63)))
    part.content = rng.randbytes(rng.choice((0, 1, 500)))
    ack = wire.Ack(number=rng.choice((1, 2**63, 2**64 - 1)), heard=2**64 - 1)
    stray = rng.choice((wire.Piece(ack=ack), wire.Piece(part=part), wire.Piece(hello=wire.Hello(session=b"a" * 16))))
    return [sound[0], stray, *sound[1:]]
