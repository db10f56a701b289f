"""What attacks there are, as plain data and as a table of text."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from shieldwall.attacks.base import BOTH_WAYS, Attack
from shieldwall.attacks.kinds import ATTACKS, find_attack

SECTIONS = {"Formula": "formula", "Sees": "sees", "Source": "source", "Caught by": "caught_by"}
"""Sections of a kind's docstring, and their names in plain data."""

_COLUMNS = {"kind": 16, "row": 3, "direction": 9, "parameters": 22, "formula": 32, "caught by": 34}
"""Columns of the table and their widths in characters."""


def describe(kind: str) -> dict[str, Any]:
    """One kind as plain data, fit for JSON.

    Returns:
        `kind`, `row`, `summary`, `formula`, `sees`, `source`, `caught_by`, `directions` (empty where it acts on
        updates) and `parameters`, each with `name`, `type`, `choices` (empty where it is no list of words), `default`
        and `description`.

    Raises:
        ConfigError: SW-A101; there is no such kind.
    """
    found = find_attack(kind, "the list of attacks")
    text = inspect.cleandoc(found.__doc__ or "")
    return {
        "kind": kind,
        "row": found.row,
        "summary": text.partition("\n")[0],
        **{name: _section(text, title) for title, name in SECTIONS.items()},
        "directions": list(found.directions),
        "parameters": [*_parameters(found)],
    }


def list_attacks() -> list[dict[str, Any]]:
    """All kinds as plain data: those of this package, then those of others."""
    return [describe(kind) for kind in ATTACKS]


def render_attacks() -> str:
    """All kinds as a table, 126 characters wide."""
    rows = [list(_COLUMNS), ["-" * width for width in _COLUMNS.values()], *(_cells(each) for each in list_attacks())]
    return "\n".join(line for row in rows for line in _wrapped(row))


def _section(text: str, title: str) -> str:
    """What stands behind `title:` until the next section, a blank line or the end, in one line."""
    titles = "|".join(SECTIONS)
    found = re.search(rf"^{title}: (.*?)(?=^(?:{titles}): |\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def _parameters(kind: type[Attack]) -> Iterator[dict[str, Any]]:
    schema = kind.model_json_schema().get("properties", {})
    for name, field in kind.model_fields.items():
        yield {
            "name": name,
            "type": schema[name]["type"],
            "choices": schema[name].get("enum", []),
            "default": field.default,
            "description": field.description or "",
        }


def _cells(about: dict[str, Any]) -> list[str]:
    return [
        about["kind"],
        "" if about["row"] is None else str(about["row"]),
        _ways(about["directions"]),
        ", ".join(f"{each['name']} = {_toml(each['default'])}" for each in about["parameters"]),
        about["formula"],
        about["caught_by"],
    ]


def _ways(directions: list[str]) -> str:
    if not directions:
        return "none"
    return "any" if directions == list(BOTH_WAYS) else ", ".join(directions)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _wrapped(cells: Sequence[str]) -> Iterator[str]:
    widths = list(_COLUMNS.values())
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    for line in zip_longest(*columns, fillvalue=""):
        yield "  ".join(f"{part:<{width}}" for part, width in zip(line, widths, strict=True)).rstrip()
