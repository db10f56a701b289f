"""Drawn messages: every kind, every field, by the declared types."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from hypothesis import strategies as st
from torch import Tensor

from shieldwall.core.signing import Identity, Signed
from shieldwall.transport.codec.message import MESSAGES
from shieldwall.transport.codec.reading import STATEMENTS

_SIGNER = Identity("worker-1")
_DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.float16, torch.bool)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bits, NaN among them, in any shape, empty and 0-dim among them."""
    dtype = draw(st.sampled_from(_DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    raw = draw(st.binary(min_size=8 * 27, max_size=8 * 27))
    count = torch.Size(shape).numel()
    if dtype == torch.bool:
        return (torch.frombuffer(bytearray(raw[:count] or b"0"), dtype=torch.uint8)[:count] % 2 == 0).reshape(shape)
    return torch.frombuffer(bytearray(raw), dtype=dtype)[:count].clone().reshape(shape)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.none() | values(next(each for each in arguments if each is not types.NoneType))
    if origin is Signed:
        return _signed(arguments[0])
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    return _of_class(kind)


def messages() -> st.SearchStrategy[Any]:
    """Any message."""
    return st.sampled_from(sorted(MESSAGES)).flatmap(lambda name: _of_class(MESSAGES[name]))


def _of_class(kind: Any) -> st.SearchStrategy[Any]:
    atoms: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=8),
        int: st.integers(-(2**63) + 1, 2**63 - 1),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bytes: st.binary(max_size=32),
        Tensor: tensors(),
    }
    if kind in atoms:
        return atoms[kind]
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    hints = get_type_hints(kind)
    if issubclass(kind, tuple):
        return st.tuples(*(values(hint) for hint in hints.values())).map(lambda given: kind(*given))
    return st.fixed_dictionaries({field.name: values(hints[field.name]) for field in dataclasses.fields(kind)}).map(
        lambda given: kind(**given)
    )


def _signed(kind: Any) -> st.SearchStrategy[Signed[Any]]:
    kinds = list(STATEMENTS.values()) if kind is Any else [kind]
    return st.sampled_from(kinds).flatmap(_of_class).map(_SIGNER.sign)
