"""`stdlib`: the sources of the running Python's standard library, one document for each file.

Left out: installed packages, tests, folders that newer versions drop, files made when Python was built (they name
the machine), and `pydoc_data`, which is the corpus `pydoc`. It differs from one Python version to the next.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from shieldwall.data.files import missing_part

LEFT_OUT = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idle_test",
        "idlelib",
        "lib2to3",
        "distutils",
        "ensurepip",
        "turtledemo",
        "lib-dynload",
        "pydoc_data",
        "__phello__",
        "__pycache__",
    }
)
"""Names of folders that are not read, at any depth."""

BUILT_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize")
"""What the names of files start with that belong to a machine and not to Python."""


def read(argument: str) -> Iterator[str]:
    """The text of every source file, in the order of the paths; unreadable and undecodable files are left out.

    Raises:
        CorpusError: SW-D102, something stands after `stdlib:`.
    """
    if argument:
        raise missing_part("stdlib", argument, "stdlib")
    return _documents(Path(sysconfig.get_path("stdlib")))


def _documents(root: Path) -> Iterator[str]:
    for path in source_files(root):
        try:
            yield path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue


def source_files(root: Path) -> list[Path]:
    """The `*.py` files under `root`, sorted by their path below it, without what is left out."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        found += [Path(folder, name) for name in files if name.endswith(".py") and not name.startswith(BUILT_FILES)]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())
