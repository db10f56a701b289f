"""Values from JSON, by their declared types alone: a missing field, one too many or one of another type is refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from shieldwall.core.signing import Signed
from shieldwall.core.statements import (
    Alert,
    GradientClaim,
    Halt,
    Header,
    Inquiry,
    Receipt,
    Refusal,
    Settlement,
    StateOpening,
    StateSeal,
)
from shieldwall.transport.codec.atoms import ATOMS, Reader, read_bytes, read_text, unfit

STATEMENTS: Mapping[str, type] = types.MappingProxyType(
    {
        statement.kind: statement
        for statement in (
            Header,
            Settlement,
            Alert,
            Inquiry,
            Refusal,
            Halt,
            GradientClaim,
            StateSeal,
            StateOpening,
            Receipt,
        )
    }
)
"""What parties sign and send, by kind."""

_SIGNATURE_BYTES = 64


def read_plain(kind: Any, plain: Any, tensors: Sequence[Tensor], where: str) -> Any:
    """The value of type `kind` that `plain` and `tensors` hold.

    Raises:
        TransportError: SW-T107; they hold something else.
    """
    return _reader(kind)(plain, tensors, where)


@lru_cache(maxsize=256)
def _reader(kind: Any) -> Reader:
    """How values of a declared type are read; made once for each."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional_reader(arguments)
    if origin is Signed or kind is Signed:
        return _signed_reader(arguments[0] if arguments else Any)
    if origin is tuple:
        return _tuple_reader(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(*arguments)
    if isinstance(kind, type):
        return _class_reader(kind)
    raise TypeError(f"{kind} does not travel")


def _class_reader(kind: type) -> Reader:
    if kind in ATOMS:
        return ATOMS[kind]
    if issubclass(kind, Enum):
        return _enum_reader(kind)
    if issubclass(kind, tuple):
        return _named_tuple_reader(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass_reader(kind)
    raise TypeError(f"{kind.__name__} does not travel")


def _optional_reader(arguments: tuple[Any, ...]) -> Reader:
    some = [argument for argument in arguments if argument is not types.NoneType]
    if len(some) != 1 or len(arguments) != 2:
        raise TypeError(f"a choice between {arguments} does not travel")
    read = _reader(some[0])
    return lambda plain, tensors, where: None if plain is None else read(plain, tensors, where)


def _enum_reader(kind: type[Enum]) -> Reader:
    by_value = {member.value: member for member in kind}

    def read(plain: Any, _: Sequence[Tensor], where: str) -> Enum:
        if type(plain) is not str or plain not in by_value:
            raise unfit(where, f"one of: {', '.join(map(str, by_value))}", plain)
        return by_value[plain]

    return read


def _tuple_reader(arguments: tuple[Any, ...]) -> Reader:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _reader(arguments[0])
        return lambda plain, tensors, where: tuple(
            item(each, tensors, f"{where}[{number}]") for number, each in enumerate(_list(plain, where))
        )
    items = [_reader(argument) for argument in arguments]
    return lambda plain, tensors, where: tuple(
        read(each, tensors, where) for read, each in zip(items, _list(plain, where, len(items)), strict=True)
    )


def _named_tuple_reader(kind: type) -> Reader:
    read = _tuple_reader(tuple(get_type_hints(kind).values()))
    return lambda plain, tensors, where: kind(*read(plain, tensors, where))


def _mapping_reader(key: Any, item: Any) -> Reader:
    read_key, read_item = _reader(key), _reader(item)

    def read(plain: Any, tensors: Sequence[Tensor], where: str) -> dict[Any, Any]:
        pairs = _pairs(plain, where, of_text=key is str)
        found = {read_key(name, tensors, where): read_item(each, tensors, f"{where}[{name}]") for name, each in pairs}
        if len(found) != len(pairs):
            raise unfit(where, "each key once", plain)
        return found

    return read


def _pairs(plain: Any, where: str, *, of_text: bool) -> list[tuple[Any, Any]]:
    if of_text and isinstance(plain, dict):
        return list(plain.items())
    if plain == {} and not of_text:
        return []  # an empty map does not show what its keys would be
    if of_text:
        raise unfit(where, "a map", plain)
    pairs = (_list(pair, where, 2) for pair in _list(plain, where))
    return [(key, value) for key, value in pairs]


def _dataclass_reader(kind: type) -> Reader:
    hints = get_type_hints(kind)
    fields = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    name = kind.__name__

    def read(plain: Any, tensors: Sequence[Tensor], where: str) -> Any:
        if not isinstance(plain, dict) or plain.keys() != fields.keys():
            raise unfit(where, f"the fields of {name}: {', '.join(fields)}", plain)
        return kind(**{field: reader(plain[field], tensors, f"{name}.{field}") for field, reader in fields.items()})

    return read


def _signed_reader(kind: Any) -> Reader:
    allowed = STATEMENTS if kind is Any or isinstance(kind, typing.TypeVar) else {kind.kind: kind}

    def read(plain: Any, _: Sequence[Tensor], where: str) -> Signed[Any]:
        if not isinstance(plain, dict) or plain.keys() != {"kind", "statement", "signer", "signature"}:
            raise unfit(where, "a signed statement", plain)
        if type(plain["kind"]) is not str or plain["kind"] not in allowed:
            raise unfit(where, f"a statement of kind {', '.join(allowed)}", plain["kind"])
        signature = read_bytes(plain["signature"], f"{where}, signature")
        if len(signature) != _SIGNATURE_BYTES:
            raise unfit(where, f"a signature of {_SIGNATURE_BYTES} bytes", signature)
        statement = read_plain(allowed[plain["kind"]], plain["statement"], (), where)
        return Signed(statement, read_text(plain["signer"], f"{where}, signer"), signature)

    return read


def _list(plain: Any, where: str, length: int | None = None) -> list[Any]:
    if not isinstance(plain, list) or (length is not None and len(plain) != length):
        raise unfit(where, "a list" if length is None else f"a list of {length}", plain)
    return plain
