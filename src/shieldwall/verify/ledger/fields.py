"""Reading plain data of an unknown hand: each field has the type that it must have, or the reading ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

KEY_BYTES = 32


class Fields:
    """The fields of one JSON object.

    Args:
        content: what was read.
        name: what it is called where it does not fit.

    Raises:
        ValueError: it is no object.
    """

    def __init__(self, content: Any, name: str = "body") -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{name} is no object")
        self._content: Mapping[str, Any] = content
        self._name = name

    def _get(self, name: str, kind: type[T]) -> T:
        """Raises ValueError where the field is absent or of another type; `bool` is no `int`."""
        value = self._content.get(name)
        if type(value) is not kind:
            raise ValueError(f"{self._name} has no {name} of type {kind.__name__}")
        return value

    def text(self, name: str) -> str:
        return self._get(name, str)

    def number(self, name: str) -> float:
        return self._get(name, float)

    def integer(self, name: str) -> int:
        """Any whole number: a worker may have signed any."""
        return self._get(name, int)

    def whole(self, name: str) -> int:
        """A number from 0 on."""
        value = self._get(name, int)
        if value < 0:
            raise ValueError(f"{name} is below 0")
        return value

    def whole_or_none(self, name: str) -> int | None:
        return None if name in self._content and self._content[name] is None else self.whole(name)

    def inner(self, name: str) -> Fields:
        return Fields(self._content.get(name), name)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(_each(self._get(name, list), str, name))

    def wholes(self, name: str) -> tuple[int, ...]:
        return tuple(_each(self._get(name, list), int, name))

    def wholes_or_none(self, name: str) -> tuple[int, ...] | None:
        """Whole numbers, or None where there is no such field."""
        return self.wholes(name) if name in self._content else None

    def by_name(self, name: str) -> dict[str, str]:
        """An object of texts."""
        content = self._get(name, dict)
        return dict(zip(content, _each(list(content.values()), str, name), strict=True))

    def by_stage(self, name: str) -> dict[int, str]:
        """An object of texts whose keys are numbers."""
        return self._mapped(name, int, str)

    def by_stage_or_none(self, name: str) -> dict[int, str] | None:
        """`by_stage`, or None where there is no such field."""
        return self.by_stage(name) if name in self._content else None

    def numbers_by_stage(self, name: str) -> dict[int, float]:
        """An object of numbers whose keys are numbers."""
        content = self._get(name, dict)
        return dict(zip(map(int, content), _each(list(content.values()), float, name), strict=True))

    def keys(self, name: str) -> dict[str, bytes]:
        """An object of public keys in hexadecimal."""
        return self._mapped(name, str, _key)

    def key(self, name: str) -> bytes:
        return _key(self.text(name))

    def _mapped(self, name: str, key: Callable[[str], Any], value: Callable[[str], Any]) -> dict[Any, Any]:
        return {key(each): value(text) for each, text in self.by_name(name).items()}


def _each(values: list[Any], kind: type[T], name: str) -> list[T]:
    for value in values:
        if type(value) is not kind:
            raise ValueError(f"{name} holds something that is no {kind.__name__}")
    return values


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {len(key)} bytes, not {KEY_BYTES}")
    return key
