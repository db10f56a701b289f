"""`csv:PATH`: values between commas, the columns' names in the first line; every value is text."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from shieldwall.core.errors import CorpusError
from shieldwall.data.files import expand_paths, read_text
from shieldwall.data.tables.record import Record, name_some


def read(path: str, split: str = "") -> Iterator[Record]:
    """A record for each row of each file that the path or pattern names; empty lines are passed over.

    A record's line is the one that its row ends in, as a quoted value may hold line ends.

    Args:
        path: of one file, or a pattern.
        split: means nothing here.

    Raises:
        CorpusError: SW-D103 to SW-D106, no text can be read there; SW-D121, a row does not fit the header, the header
            does not name each column once, or a quote is never closed.
    """
    del split
    for name in expand_paths(path):
        rows = _rows(read_text(name), name)
        if rows:
            header_line, header = rows[0]
            _check_header(header, f"{name}, line {header_line}")
            for line, row in rows[1:]:
                yield _record(header, row, f"{name}, line {line}")


def _rows(text: str, path: str) -> list[tuple[int, list[str]]]:
    """Each row that is not empty with the number of its last line. All at once: the limit is the process's own."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise _malformed(f"{path}, line {reader.line_num}", "values between commas, quotes in pairs", str(error)) from (
            error
        )
    finally:
        csv.field_size_limit(limit)


def _check_header(header: Sequence[str], where: str) -> None:
    counts = Counter(header)
    wrong = [name for name, count in counts.items() if count > 1 or not name.strip()]
    if wrong:
        got = "a column without a name" if not wrong[0].strip() else f"several columns named {name_some(wrong[:1])}"
        raise _malformed(where, "a first line that names each column once", got)


def _record(header: Sequence[str], row: Sequence[str], where: str) -> Record:
    if len(row) != len(header):
        raise _malformed(where, f"{len(header)} values, as the first line names columns", f"{len(row)} values")
    return Record(dict(zip(header, row, strict=True)), where)


def _malformed(where: str, expected: str, got: str) -> CorpusError:
    return CorpusError(
        "SW-D121",
        "the CSV file is not a whole table",
        where=where,
        expected=expected,
        got=got,
        remedy='repair that line; a value with a comma, a quote or a line end in it stands in quotes: "one, two"',
    )
