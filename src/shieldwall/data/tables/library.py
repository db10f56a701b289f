"""Hugging Face `datasets`, the extra `data`: asked for quietly, its errors turned into ours.

Only tables are read. `datasets` has dropped data sets that come with code of their own, and refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from shieldwall.core.errors import CorpusError
from shieldwall.data.tables.record import Record

INSTALL = 'pip install "shieldwall[data]"'

ROWS_AT_ONCE = 1000


def find_library(spec: str) -> ModuleType:
    """The module `datasets`.

    Args:
        spec: what needs it, for the message.

    Raises:
        CorpusError: SW-D123; it is not installed.
    """
    try:
        import datasets
        from datasets import load_dataset, load_from_disk  # noqa: F401 (a folder of that name holds neither)
    except ImportError as error:
        raise CorpusError(
            "SW-D123",
            "this kind of corpus needs the extra data",
            where=f'data.corpus = "{spec}"',
            expected="the library datasets, which reads Parquet files and data sets of the hub",
            got=str(error),
            remedy=INSTALL,
        ) from error
    found: ModuleType = datasets
    return found


def records(open_table: Callable[[ModuleType], Any], spec: str, where: str) -> Iterator[Record]:
    """The rows of what `open_table` gives, numbered from 1, a thousand in memory at a time.

    Args:
        open_table: takes the library and gives a `Dataset` or an `IterableDataset`.
        spec: of the corpus, for messages.
        where: file or data set, for messages.

    Raises:
        CorpusError: SW-D122, it cannot be read; SW-D123, the library is not installed.
    """
    library = find_library(spec)
    with _readable(library, where):
        tables = iter(open_table(library).with_format("arrow").iter(batch_size=ROWS_AT_ONCE))
    number = 0
    while (rows := _next_rows(tables, library, where)) is not None:
        for values in rows:
            number += 1
            yield Record(values, f"{where}, row {number}")


def _next_rows(tables: Iterator[Any], library: ModuleType, where: str) -> list[dict[str, Any]] | None:
    """The rows of the next table, None at the end."""
    with _readable(library, where):
        table = next(tables, None)
        return None if table is None else list(table.to_pylist())


@contextmanager
def _readable(library: ModuleType, where: str) -> Iterator[None]:
    """Quiet while the library works; what it raises becomes SW-D122."""
    bars, level = not library.are_progress_bars_disabled(), library.logging.get_verbosity()
    library.disable_progress_bars()
    library.logging.set_verbosity(library.logging.CRITICAL)
    try:
        yield
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, library.exceptions.DatasetsError) as error:
        raise CorpusError(
            "SW-D122",
            "the table cannot be read",
            where=where,
            expected="a whole table that the library datasets can read",
            got=f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}",
            remedy="check the name, data.hf_split and the network, or fetch the file again",
        ) from error
    finally:
        library.logging.set_verbosity(level)
        if bars:
            library.enable_progress_bars()
