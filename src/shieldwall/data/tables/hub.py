"""`hf:NAME[/CONFIG]`: a data set of the Hugging Face hub, or one that lies in a local folder, through `datasets`.

hf:imdb                          NAME
hf:Salesforce/wikitext           ORG/NAME; if the hub knows none, NAME/CONFIG
hf:Salesforce/wikitext/wikitext-2-raw-v1
hf:/data/reviews, hf:./reviews   a folder of Parquet, JSON or CSV files, or one that `save_to_disk` wrote
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from shieldwall.core.errors import CorpusError
from shieldwall.data.files import missing_part
from shieldwall.data.tables.library import records
from shieldwall.data.tables.record import Record

SAVED = ("dataset_dict.json", "state.json")
"""A folder with one of these was written by `save_to_disk`: a dictionary of splits, or a single split."""


def read(name: str, split: str = "train") -> Iterator[Record]:
    """A record for each row of one split.

    Args:
        name: on the hub, or a local folder.
        split: name of the split; a folder saved as a single split has no other and takes any name.

    Raises:
        CorpusError: SW-D102, no name; SW-D103, no such folder; SW-D122, it cannot be read, or there is no such split;
            SW-D123, the extra `data` is not installed.
    """
    where = f"{name}, split {split}"
    if Path(name).is_dir() and name:
        yield from records(partial(_open_folder, name, split), f"hf:{name}", where)
        return
    if name.startswith((".", "/", "~")):
        raise _no_folder(name)
    parts = name.split("/")
    if not all(parts) or len(parts) > 3:
        raise missing_part("hf", name, "hf:NAME[/CONFIG]")
    yield from records(partial(_open_hub, parts, split), f"hf:{name}", where)


def _open_folder(folder: str, split: str, library: ModuleType) -> Any:
    if any((Path(folder) / name).exists() for name in SAVED):
        saved = library.load_from_disk(folder)
        return saved[split] if isinstance(saved, library.DatasetDict) else saved
    with TemporaryDirectory() as scratch:
        return library.load_dataset(folder, split=split, streaming=True, cache_dir=scratch)


def _open_hub(parts: list[str], split: str, library: ModuleType) -> Any:
    """From the library's own cache where it is there; the cache is what a resumed run reads."""
    name, config = "/".join(parts[:2]), "/".join(parts[2:]) or None
    try:
        return library.load_dataset(name, config, split=split)
    except library.exceptions.DatasetNotFoundError:
        if len(parts) != 2:
            raise
        return library.load_dataset(parts[0], parts[1], split=split)


def _no_folder(name: str) -> CorpusError:
    return CorpusError(
        "SW-D103",
        "the corpus file does not exist",
        where=name,
        expected="a folder with a data set in it",
        got="no such folder",
        remedy="check the path; one that does not start with / is looked up from the folder you are in",
    )
