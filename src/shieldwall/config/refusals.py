"""What pydantic finds wrong with one value, said in our terms: the key, what it takes, and the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError

from shieldwall.core.errors import ConfigError

_EVERY_KEY = "shieldwall config init prints every key with its default and meaning"
_ONE_ATTACK = "write [[attack]] in double brackets; each such table is one attack"


def explain(error: ValidationError, config: type[BaseModel], where: str, overrides: Sequence[str] = ()) -> ConfigError:
    """The error for the first value of `config` that pydantic refuses: SW-C101 or SW-C102.

    Args:
        error: what pydantic says.
        config: the model that refused.
        where: origin of the values.
        overrides: `section.key=value` over these, of which the last one for a key counts.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"][:2]]
    for text in overrides:
        if text.partition("=")[0].strip().split(".", 1)[: len(path)] == path:
            where = f"--set {text}"
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, config, where)
    key = ".".join(path[:2])
    return ConfigError(
        "SW-C102",
        f"{key or 'the configuration'} has a value that does not fit",
        where=f"{key} in {where}",
        expected=_wanted(path, config, first["msg"], several=len(error.errors()) > 1),
        got=repr(first.get("input")),
        remedy=_ONE_ATTACK if first["type"] == "list_type" and path == ["attack"] else _EVERY_KEY,
    )


def _wanted(path: list[str], config: type[BaseModel], message: str, *, several: bool) -> str:
    if len(path) >= 2 and path[0] in config.model_fields:
        section = config.model_fields[path[0]].annotation
        field = section.model_fields.get(path[1]) if isinstance(section, type) else None
        if field is not None:
            known = [repr(value) for value in get_args(field.annotation) if isinstance(value, str)]
            if known:
                return f"one of {', '.join(known)}: {field.description}"
            return str(field.description) if several else f"{message[:1].lower()}{message[1:]}: {field.description}"
    return message


def _unknown_key(path: list[str], config: type[BaseModel], where: str) -> ConfigError:
    section = path[0] if path[0] in config.model_fields else ""
    known = (
        [name for name in _known_names(config) if name.startswith(f"{section}.")]
        if section
        else list(config.model_fields)
    )
    name = ".".join(path)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return ConfigError(
        "SW-C101",
        f'there is no {"key" if section else "section"} "{name}"',
        where=where,
        expected=f"one of: {', '.join(known)}",
        got=name,
        remedy=f'did you mean "{near[0]}"?' if near else "shieldwall config init prints every key",
    )


def _known_names(config: type[BaseModel]) -> list[str]:
    names = []
    for section, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += [f"{section}.{key}" for key in kind.model_fields]
    return names
