"""Tables: files and data sets whose records have fields. One module for each kind.

A document corpus takes one field of each record; prompts and completions are made of several. A reader takes the
spec's argument without its field, and the name of a split, which only kinds with splits look at. A new kind of table
is a new module, or a package's entry point in the group `shieldwall.tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

from shieldwall.core.registry import Registry
from shieldwall.data.files import missing_part
from shieldwall.data.tables.record import Record

Reader = Callable[[str, str], Iterable[Record]]
"""Takes the spec's argument and a split, and gives the records, always in the same order."""

TABLES = Registry(
    "shieldwall.tables",
    {
        "jsonl": "shieldwall.data.tables.jsonl:read",
        "csv": "shieldwall.data.tables.csv_table:read",
        "parquet": "shieldwall.data.tables.parquet:read",
        "hf": "shieldwall.data.tables.hub:read",
    },
)
"""Scheme to a function of the spec's argument and a split that gives records, as `Reader` says; see docs/data.md."""

WITHOUT_FIELD = {"hf": "hf:NAME[/CONFIG]"}
"""Kinds whose spec never ends in a field, and its form; `data.text_field` names the field."""

SET_TEXT_FIELD = "set data.text_field to the field that holds the text"


def read_records(scheme: str, argument: str, split: str) -> Iterator[Record]:
    """All records of a table.

    Args:
        scheme: a name in `TABLES`.
        argument: path or name; no field.
        split: for kinds that have splits.

    Raises:
        CorpusError: SW-D102, no argument, or a field after the path; and what the kind's reader raises.
    """
    if not argument:
        raise missing_part(scheme, argument, WITHOUT_FIELD.get(scheme, f"{scheme}:PATH"))
    path, _, field = argument.rpartition(":")
    if field and Path(path).is_file() and not Path(argument).exists():
        raise missing_part(scheme, argument, f"{scheme}:PATH")
    reader = cast("Reader", TABLES[scheme])
    return iter(reader(argument, split))


def read_documents(scheme: str, argument: str, text_field: str, split: str) -> Iterator[str]:
    """One field of each record of a table.

    Args:
        scheme: a name in `TABLES`.
        argument: `PATH:FIELD`, cut at its last colon; for kinds without a field in their spec, the name alone.
        text_field: the field for those.
        split: for kinds that have splits.

    Raises:
        CorpusError: SW-D102, no path or no field; SW-D109, a record has no text there; and what the reader raises.
    """
    if scheme in WITHOUT_FIELD:
        path, field, remedy = argument, text_field, SET_TEXT_FIELD
    else:
        path, _, field = argument.rpartition(":")
        remedy = f"name the field that holds the text after the last colon: {scheme}:PATH:FIELD"
    if not path or not field:
        raise missing_part(scheme, argument, WITHOUT_FIELD.get(scheme, f"{scheme}:PATH:FIELD"))
    return (record.document(field, remedy) for record in cast("Reader", TABLES[scheme])(path, split))
