"""`jsonl:PATH`: one JSON object a line, each a record."""

from __future__ import annotations

import json
from collections.abc import Iterator

from shieldwall.data.files import BYTE_ORDER_MARK, check_text, expand_paths, read_file
from shieldwall.data.tables.record import Record, kind_of, not_an_object


def read(path: str, split: str = "") -> Iterator[Record]:
    """The object in each line of each file that the path or pattern names; empty lines are passed over.

    Args:
        path: of one file, or a pattern.
        split: means nothing here.

    Raises:
        CorpusError: SW-D103 to SW-D106, no text can be read there; SW-D108, a line is not a JSON object.
    """
    del split
    for name in expand_paths(path):
        content = read_file(name)
        check_text(content, name)
        yield from _records(content, name)


def _records(content: bytes, path: str) -> Iterator[Record]:
    lines = content.removeprefix(BYTE_ORDER_MARK.encode()).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield Record(_object(line, where), where)


def _object(line: bytes, where: str) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise not_an_object(where, f"{error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise not_an_object(where, str(error)) from error
    if not isinstance(value, dict):
        raise not_an_object(where, f"a JSON {kind_of(value)}")
    return value
