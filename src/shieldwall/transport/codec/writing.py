"""Values as JSON, by what they are.

dataclass            {field: value}, all fields and no others
Mapping, str keys    {key: value}
Mapping, other keys  [[key, value], ...]
tuple                [value, ...]
enum                 its value
bytes                hexadecimal text
Tensor               its place in the list of tensors that travels beside
Signed               {"kind", "statement", "signer", "signature"}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from torch import Tensor

from shieldwall.core.signing import Signed


def write_plain(value: Any, tensors: list[Tensor]) -> Any:
    """`value` as plain data; its tensors are put at the end of `tensors`.

    Raises:
        TypeError: it is of no kind that travels.
    """
    if value is None or isinstance(value, bool | int | float) or type(value) is str:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Tensor):
        tensors.append(value)
        return len(tensors) - 1
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return _write_mapping(value, tensors)
    if isinstance(value, tuple | list):
        return [write_plain(item, tensors) for item in value]
    if isinstance(value, Signed):
        return _write_signed(value, tensors)
    if dataclasses.is_dataclass(value):
        return {field.name: write_plain(getattr(value, field.name), tensors) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} does not travel")


def _write_mapping(value: Mapping[Any, Any], tensors: list[Tensor]) -> Any:
    if all(type(key) is str for key in value):
        return {key: write_plain(item, tensors) for key, item in value.items()}
    return [[write_plain(key, tensors), write_plain(item, tensors)] for key, item in value.items()]


def _write_signed(signed: Signed[Any], tensors: list[Tensor]) -> dict[str, Any]:
    return {
        "kind": signed.statement.kind,
        "statement": write_plain(signed.statement, tensors),
        "signer": signed.signer,
        "signature": signed.signature.hex(),
    }
