"""One message as its kind, its body as JSON, and its tensors, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from torch import Tensor

from shieldwall.core.messages import Message
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.codec.reading import read_plain
from shieldwall.transport.codec.tensor_form import TensorForm, form_of
from shieldwall.transport.codec.writing import write_plain

MAX_BODY_BYTES = 4 << 20
"""The longest body that is read; that of a plan with ten thousand actions has less than one."""

MAX_TENSORS = 1 << 16
"""The most tensors that a message may have."""
HOLDER_BYTES = 1 << 10
"""What a message and each of its tensors take of memory beside their bytes, at most."""

MESSAGES: Mapping[str, type] = MappingProxyType({kind.__name__: kind for kind in get_args(Message)})
"""Everything that passes between parties, by name."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A message ready to travel."""

    kind: str
    body: bytes
    """JSON in UTF-8; tensors stand in it by their place in `tensors`."""
    tensors: tuple[Tensor, ...]
    """Each contiguous."""

    @property
    def forms(self) -> tuple[TensorForm, ...]:
        """Type and shape of each tensor."""
        return tuple(form_of(tensor) for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of body and tensors."""
        return len(self.body) + sum(tensor.nbytes for tensor in self.tensors)

    @property
    def weight_bytes(self) -> int:
        """What it counts against a window while it waits: its bytes, and something for each thing that holds them.

        Else a million empty tensors would weigh nothing.
        """
        return self.nbytes + HOLDER_BYTES * (1 + len(self.tensors))


def pack(message: Message) -> Packed:
    """`message` as its kind, body and tensors; tensors on an accelerator are copied to the CPU, others are not.

    Raises:
        TypeError: it holds something that does not travel.
        ValueError: a number in it is not finite.
    """
    tensors: list[Tensor] = []
    plain = write_plain(message, tensors)
    body = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    return Packed(type(message).__name__, body, tuple(tensor.detach().cpu().contiguous() for tensor in tensors))


def unpack(kind: str, body: bytes, tensors: Sequence[Tensor]) -> Message:
    """The message that was packed.

    Raises:
        TransportError: SW-T107; it is no message of that kind, or SW-T103; a tensor in it is not fit to travel.
    """
    if kind not in MESSAGES:
        raise garbled("a message's kind", "one that both ends know", repr(kind)[:80])
    message: Message = read_plain(MESSAGES[kind], _parse(kind, body), tensors, kind)
    return message


def _parse(kind: str, body: bytes) -> Any:
    if len(body) > MAX_BODY_BYTES:
        raise garbled(kind, f"a body of at most {MAX_BODY_BYTES:,} bytes", f"{len(body):,} bytes")
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits, nested deep
        raise garbled(kind, "a body in JSON", f"{len(body):,} bytes that are none: {str(error)[:80]}") from error


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")
