"""Arguments and options of a command, whichever typer holds them.

Versions of typer differ in where they keep a value's type and its limits. The type is taken from the function's own
annotation, which is the same in all of them, the rest from the attributes that they share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin, get_type_hints

_WORDS = {int: "INTEGER", float: "FLOAT", str: "TEXT", bool: "BOOLEAN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument or option."""

    is_argument: bool
    is_flag: bool
    required: bool
    shown: str
    """As it is typed: `RUN`, `[CONFIG.toml]`, `--json`, `--blocks INTEGER`."""
    default: str
    """Empty where there is none to show."""
    help: str
    limits: str
    """Such as `at least 2`; empty where there are none."""


def parameters_of(command: Any) -> Iterator[Parameter]:
    """The visible parameters of a command of typer's, in their order."""
    kinds = get_type_hints(command.callback) if command.callback else {}
    for each in command.params:
        if not getattr(each, "hidden", False) and each.name != "help":
            yield _read(each, kinds.get(each.name, str))


def _read(parameter: Any, kind: Any) -> Parameter:
    is_argument = parameter.param_type_name == "argument"
    is_flag = bool(getattr(parameter, "is_flag", False))
    limited = getattr(parameter, "type", parameter)
    limits = [(word, getattr(limited, name, None)) for word, name in (("at least", "min"), ("at most", "max"))]
    return Parameter(
        is_argument=is_argument,
        is_flag=is_flag,
        required=bool(parameter.required),
        shown=_argument(parameter) if is_argument else _option(parameter, kind, is_flag=is_flag),
        default=("on" if parameter.default is True else "off") if is_flag else _spelt(parameter.default),
        help=parameter.help or "",
        limits=", ".join(f"{word} {limit}" for word, limit in limits if limit is not None),
    )


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _option(parameter: Any, kind: Any, *, is_flag: bool) -> str:
    names = ", ".join(parameter.opts)
    if is_flag:
        return " / ".join([names, *parameter.secondary_opts])
    return f"{names} {parameter.metavar or _value_of(kind)}"


def _value_of(kind: Any) -> str:
    """What stands for a value of a type: `INTEGER`, `eval|train|all`."""
    if get_origin(kind) is Literal:
        return "|".join(_spelt(value) for value in get_args(kind))
    inner = [each for each in get_args(kind) if each is not type(None)]
    if inner:
        return _value_of(inner[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(_spelt(value) for value in kind)
    return "PATH" if isinstance(kind, type) and issubclass(kind, PurePath) else _WORDS.get(kind, "VALUE")


def _spelt(value: Any) -> str:
    """A value as it is typed; what is none, such as a mark for "not given", is nothing."""
    plain = value.value if isinstance(value, Enum) else value
    return str(plain) if isinstance(plain, str | int | float | PurePath) else ""
