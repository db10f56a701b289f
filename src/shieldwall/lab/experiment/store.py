"""Finished cells on the disk, a file each, so that an experiment can be stopped at any moment and go on."""

from __future__ import annotations

import json
from pathlib import Path

from shieldwall.core.files import write_whole
from shieldwall.lab.experiment.cell import Cell, Finished, Outcome

CELLS = "cells"


class CellStore:
    """`OUT/cells/NAME/KEY.json`.

    A cell that another experiment under the same `OUT` has finished is taken from there: the clean runs of several
    experiments are the same.

    Args:
        out: folder of all experiments' results.
        name: of the experiment.

    Raises:
        StorageError: SW-S101; the disk refused.
    """

    def __init__(self, out: Path, name: str) -> None:
        self._all = out / CELLS
        self.folder = self._all / name

    def read(self, cell: Cell) -> Finished | None:
        """What came of the cell; None where it was not finished, or its file is not of this very cell."""
        mine = self._read(self.folder / f"{cell.key}.json", cell)
        if mine is not None or not self._all.exists():
            return mine
        for path in sorted(self._all.glob(f"*/{cell.key}.json")):
            found = self._read(path, cell)
            if found:
                self.write(found)
                return found
        return None

    def write(self, finished: Finished) -> None:
        """Keep a finished cell: wholly, or as if it had never been finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = {
            "cell": finished.cell.to_json(),
            "outcome": finished.outcome.to_json(),
            "seconds": round(finished.seconds, 2),
        }
        path = self.folder / f"{finished.cell.key}.json"
        write_whole(path, (json.dumps(plain, indent=2, allow_nan=False) + "\n").encode())

    def _read(self, path: Path, cell: Cell) -> Finished | None:
        if not path.exists():
            return None
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if plain["cell"] != cell.to_json():
                return None
            return Finished(cell, Outcome.parse(plain["outcome"]), float(plain["seconds"]))
        except (ValueError, KeyError, TypeError):
            return None
