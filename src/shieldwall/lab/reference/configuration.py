"""The page of the configuration: every section and key, read from the fields of `Config`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from shieldwall.attacks.spec import COMMON_KEYS, AttackSpec
from shieldwall.config import Config
from shieldwall.lab.reference.markdown import code, docstring, literal, page, prose, table

_KINDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
_TABLES: dict[str, tuple[type[BaseModel], tuple[str, ...], str]] = {
    "attack": (
        AttackSpec,
        COMMON_KEYS,
        "Each `[[attack]]` has these keys and the parameters of its kind;"
        " `shieldwall attacks` and [the page on attacks](../attacks.md) list the kinds.",
    )
}
"""Sections that may be there several times: a model of the tables, those of its keys that a user writes, and a hint."""

_SEVERAL = {"string": "texts", "integer": "integers", "number": "numbers", "boolean": "truth values"}


def render_configuration(config: type[BaseModel] = Config) -> str:
    """`configuration.md` for a model of sections."""
    sections = [(name, field.annotation) for name, field in config.model_fields.items()]
    blocks = [
        *docstring(config.__doc__ or ""),
        "A configuration is a TOML file. What it leaves out takes its default; unknown keys are refused"
        " ([SW-C101](../errors/SW-C101.md)), as are values that are not allowed"
        " ([SW-C102](../errors/SW-C102.md)) or do not fit together ([SW-C105](../errors/SW-C105.md))."
        " `--set section.key=value` overrides one key, and `shieldwall config init` prints a file with all of them.",
        *_no_part_of_the_root(config),
    ]
    for name, section in sections:
        if name in _TABLES:
            blocks += _tables(name, str(config.model_fields[name].description))
            continue
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            raise TypeError(f"{name} is no section: {section}")
        blocks += _section(name, section)
    return page("Configuration", blocks)


def _no_part_of_the_root(config: type[BaseModel]) -> Iterator[str]:
    if not issubclass(config, Config):
        return
    default = config()
    deciding = default.deciding()
    names = [
        code(f"{section}.{key}")
        for section, keys in default.to_plain().items()
        for key in keys
        if key not in deciding.get(section, {})
    ]
    if names:
        yield f"These keys change no number of a run and may differ when it is resumed: {', '.join(names)}."


def _section(name: str, section: type[BaseModel]) -> Iterator[str]:
    yield f"## [{name}]"
    yield from docstring(section.__doc__ or "")
    yield _rows(name, section, tuple(section.model_fields))


def _tables(name: str, meaning: str) -> Iterator[str]:
    """A section that may be there several times: the keys that each of them has."""
    yield f"## [[{name}]]"
    yield f"{meaning[0].upper()}{meaning[1:]}."
    section, keys, further = _TABLES[name]
    yield further
    yield _rows(name, section, keys)


def _rows(name: str, section: type[BaseModel], keys: Sequence[str]) -> str:
    schemas = section.model_json_schema()["properties"]
    return table(
        ["Key", "Type", "Default", "Allowed", "Meaning"],
        [
            [
                code(f"{name}.{key}"),
                _kind(schemas[key]),
                _default(field.get_default(call_default_factory=True)),
                _allowed(schemas[key]),
                prose(field.description or ""),
            ]
            for key, field in section.model_fields.items()
            if key in keys
        ],
    )


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "none, must be given"
    return "left out" if value is None else literal(value)


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]


def _kind(schema: dict[str, Any]) -> str:
    return " or ".join(_one_kind(each) for each in _alternatives(schema))


def _one_kind(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"list of {_SEVERAL.get(schema['items'].get('type'), 'values')}"
    return _KINDS.get(schema.get("type", "string"), "table")


def _allowed(schema: dict[str, Any]) -> str:
    """What a value is held to: a choice, a range or a pattern; `""` where every value of the type will do."""
    alternatives = _alternatives(schema)
    limits = [_limits(each) for each in alternatives]
    if any(limits) and not all(limits):
        limits = [limit or f"any {_one_kind(each)}" for limit, each in zip(limits, alternatives, strict=True)]
    return " or ".join(dict.fromkeys(limit for limit in limits if limit))


def _limits(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return ", ".join(literal(value) for value in schema.get("enum", [schema.get("const")]))
    parts = [_range(schema)]
    parts += ["not empty"] if schema.get("minLength") or schema.get("minItems") else []
    parts += [f"matches {code(schema['pattern'])}"] if "pattern" in schema else []
    return ", ".join(part for part in parts if part)


def _range(schema: dict[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f"{_number(schema['minimum'])} to {_number(schema['maximum'])}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
