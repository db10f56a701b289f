"""`jsonl:PATH:FIELD`: one JSON object a line; the string under FIELD is a document."""

from __future__ import annotations

import json
from collections.abc import Iterator

from shieldwall.core.errors import CorpusError
from shieldwall.data.corpora.files import BYTE_ORDER_MARK, check_text, missing_part, read_file

MOST_FIELDS_NAMED = 8


def read(argument: str) -> Iterator[str]:
    """The field's text in each line of the file; `argument` is `PATH:FIELD`, cut at its last colon.

    Empty lines are passed over.

    Raises:
        CorpusError: SW-D102, no path or no field; SW-D103 to SW-D106, no text can be read there; SW-D108, a line is
            not a JSON object; SW-D109, a line has no text under that field.
    """
    path, _, field = argument.rpartition(":")
    if not path or not field:
        raise missing_part("jsonl", argument, "jsonl:PATH:FIELD")
    content = read_file(path)
    check_text(content, path)
    return _documents(content, path, field)


def _documents(content: bytes, path: str, field: str) -> Iterator[str]:
    lines = content.removeprefix(BYTE_ORDER_MARK.encode()).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield _text(_record(line, where), field, where)


def _record(line: bytes, where: str) -> dict[str, object]:
    try:
        record = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise _malformed(where, f"{error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise _malformed(where, str(error)) from error
    if not isinstance(record, dict):
        raise _malformed(where, f"a JSON {_kind(record)}")
    return record


def _text(record: dict[str, object], field: str, where: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        raise CorpusError(
            "SW-D109",
            f'a line has no text under "{field}"',
            where=where,
            expected=f'a string under "{field}"',
            got=f'"{field}" holds a {_kind(value)}' if field in record else f"fields: {_names(record)}",
            remedy="name the field that holds the text after the last colon: jsonl:PATH:FIELD",
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _malformed(where, f'half a character under "{field}": a \\ud800 to \\udfff that has no partner')
    return value


def _names(record: dict[str, object]) -> str:
    names = [json.dumps(name) for name in sorted(record)]
    more = len(names) - MOST_FIELDS_NAMED
    return ", ".join(names[:MOST_FIELDS_NAMED] + ([f"and {more} more"] if more > 0 else [])) or "none"


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number")


def _malformed(where: str, got: str) -> CorpusError:
    return CorpusError(
        "SW-D108",
        "a line is not a JSON object",
        where=where,
        expected="one whole JSON object in each line",
        got=got,
        remedy="repair or delete that line; a list of objects must be written one object a line (jq -c '.[]')",
    )
