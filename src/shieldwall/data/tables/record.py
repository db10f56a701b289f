"""One record of a table, and the text in its fields."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shieldwall.core.errors import CorpusError

MOST_FIELDS_NAMED = 8

NUMBERS = (bool, int, float)
"""What may be written as text inside a prompt: 3, 0.5, true."""


@dataclass(frozen=True, slots=True)
class Record:
    """Fields by name, and where they stand, such as `notes.jsonl, line 17`."""

    values: Mapping[str, object]
    where: str

    def document(self, field: str, remedy: str) -> str:
        """The string under `field`.

        Raises:
            CorpusError: SW-D109, no such field, or no string in it; SW-D108, half a character.
        """
        value = self.values.get(field)
        if not isinstance(value, str):
            raise self._no_text(field, f'a string under "{field}"', remedy)
        return self._whole(field, value)

    def written(self, field: str, remedy: str) -> str:
        """The string under `field`; a number or truth value is written as JSON writes it.

        Raises:
            CorpusError: SW-D109, no such field, or nothing that can be written; SW-D108, half a character.
        """
        value = self.values.get(field)
        if isinstance(value, str):
            return self._whole(field, value)
        if not isinstance(value, NUMBERS) or (isinstance(value, float) and not math.isfinite(value)):
            raise self._no_text(field, f'a string, number or truth value under "{field}"', remedy)
        return json.dumps(value)

    def _no_text(self, field: str, expected: str, remedy: str) -> CorpusError:
        found = f"fields: {name_some(self.values)}"
        if field in self.values:
            found = f'"{field}" holds a {kind_of(self.values[field])}'
        return CorpusError(
            "SW-D109",
            f'a record has no text under "{field}"',
            where=self.where,
            expected=expected,
            got=found,
            remedy=remedy,
        )

    def _whole(self, field: str, value: str) -> str:
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise not_an_object(
                self.where, f'half a character under "{field}": a \\ud800 to \\udfff that has no partner'
            )
        return value


def name_some(names: Iterable[str]) -> str:
    """The first few names in quotes, sorted, and how many more there are."""
    quoted = [json.dumps(name) for name in sorted(names)]
    more = len(quoted) - MOST_FIELDS_NAMED
    return ", ".join(quoted[:MOST_FIELDS_NAMED] + ([f"and {more} more"] if more > 0 else [])) or "none"


def kind_of(value: object) -> str:
    """What a value is, in the words of JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return "number that is not finite"
    kinds = {dict: "object", list: "list", str: "string", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number" if isinstance(value, NUMBERS) else type(value).__name__)


def not_an_object(where: str, got: str) -> CorpusError:
    """The error SW-D108 for a line that is not one whole JSON object."""
    return CorpusError(
        "SW-D108",
        "a line is not a JSON object",
        where=where,
        expected="one whole JSON object in each line",
        got=got,
        remedy="repair or delete that line; a list of objects must be written one object a line (jq -c '.[]')",
    )
