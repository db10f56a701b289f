"""Values that have no parts, read as what their type says and as nothing else: a text is no number, true no integer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.transport.codec.garbled import garbled

Reader = Callable[[Any, Sequence[Tensor], str], Any]
"""Makes a value of plain data and of the tensors beside it; the last argument says where it stands."""

_MAX_INTEGER = 2**63 - 1


def unfit(where: str, expected: str, plain: Any) -> TransportError:
    """The error SW-T107 for a value that is not what its place wants."""
    return garbled(where, expected, f"{type(plain).__name__} {str(plain)[:60]}")


def read_text(plain: Any, where: str) -> str:
    """A text.

    Raises:
        TransportError: SW-T107.
    """
    if type(plain) is not str:
        raise unfit(where, "text", plain)
    return plain


def read_bytes(plain: Any, where: str) -> bytes:
    """Bytes.

    Raises:
        TransportError: SW-T107.
    """
    try:
        return bytes.fromhex(read_text(plain, where))
    except ValueError as error:
        raise unfit(where, "hexadecimal digits", plain) from error


def _integer(plain: Any, where: str) -> int:
    if type(plain) is not int or abs(plain) > _MAX_INTEGER:
        raise unfit(where, "an integer of 64 bits", plain)
    return plain


def _truth(plain: Any, where: str) -> bool:
    if type(plain) is not bool:
        raise unfit(where, "true or false", plain)
    return plain


def _number(plain: Any, where: str) -> float:
    if type(plain) not in (int, float) or not math.isfinite(plain):
        raise unfit(where, "a finite number", plain)
    return float(plain)


def _tensor(plain: Any, tensors: Sequence[Tensor], where: str) -> Tensor:
    if type(plain) is not int or not 0 <= plain < len(tensors):
        raise unfit(where, f"the place of one of {len(tensors)} tensors", plain)
    return tensors[plain]


def _alone(read: Callable[[Any, str], Any]) -> Reader:
    return lambda plain, _, where: read(plain, where)


ATOMS: Mapping[type, Reader] = MappingProxyType(
    {
        str: _alone(read_text),
        int: _alone(_integer),
        bool: _alone(_truth),
        float: _alone(_number),
        bytes: _alone(read_bytes),
        Tensor: _tensor,
    }
)
"""How they are read, by type."""
