"""`parquet:PATH`: Parquet files, through `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from glob import escape
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from shieldwall.data.files import check_file, expand_paths
from shieldwall.data.tables.library import records
from shieldwall.data.tables.record import Record


def read(path: str, split: str = "") -> Iterator[Record]:
    """A record for each row of each file that the path or pattern names; nothing is kept in a cache.

    Args:
        path: of one file, or a pattern.
        split: means nothing here.

    Raises:
        CorpusError: SW-D103 to SW-D105, no file can be read there; SW-D122, it is no Parquet file; SW-D123, the extra
            `data` is not installed.
    """
    del split
    for name in expand_paths(path):
        check_file(name)
        if _is_empty(name):
            continue
        yield from records(partial(_open, name), f"parquet:{path}", name)


def _is_empty(path: str) -> bool:
    """Whether the file holds no row, which the library cannot stream; what is no Parquet file is left to it."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        return False
    try:
        return int(parquet.read_metadata(path).num_rows) == 0
    except (ArrowException, OSError):
        return False


def _open(path: str, library: ModuleType) -> Any:
    """The rows as a stream; the library takes the name for a pattern, and a stream leaves locks in the cache alone."""
    files = {"train": [escape(path)]}
    with TemporaryDirectory() as scratch:
        return library.load_dataset("parquet", data_files=files, split="train", streaming=True, cache_dir=scratch)
