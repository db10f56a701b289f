"""Experiments run for real, on a grid of seconds: the same twice, killed in the middle, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import micro_grid
import pytest
from micro_grid import MICRO, run_map, write_texts

from shieldwall.core.errors import RunFolderError
from shieldwall.lab.experiment.run import run_experiment
from shieldwall.lab.experiment.view import SilentGrid

CELLS = 3


class Played(SilentGrid):
    """Remembers what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def playing(self, what: str) -> None:
        self.begun.append(what)


def without_times(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name != "times"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The micro map, run without a break."""
    out = tmp_path_factory.mktemp("whole")
    return out, run_map(out, data)


def kill_after_first_cell(out: Path, data: Path) -> list[Path]:
    """Start the micro map as a process of its own and kill it as soon as one cell is finished."""
    command = [sys.executable, micro_grid.__file__, str(out), str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "played\n"
    process.kill()
    process.communicate()  # ends when the processes that it started have ended too: they hold the pipes
    return sorted((out / "cells" / "map").glob("*.json"))


def test_killed_and_started_again_it_does_only_what_is_missing(
    whole: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    """And ends with the same JSON as the run without a break, but for times; nothing of the killed cell is left."""
    shutil.copytree(whole[0] / "bases", tmp_path / "bases")
    kept = {path: path.read_bytes() for path in kill_after_first_cell(tmp_path, data)}
    view = Played()
    again = run_map(tmp_path, data, view)
    assert len(view.begun) == CELLS - len(kept) > 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert without_times(again) == without_times(whole[1])
    assert json.loads((tmp_path / "map.json").read_text()) == again
    assert not (tmp_path / "work" / "map").exists()
    third = Played()
    assert without_times(run_map(tmp_path, data, third)) == without_times(again)
    assert third.begun == []


def test_a_cell_is_what_the_run_says(whole: tuple[Path, dict[str, Any]]) -> None:
    """Three cells of one seed; the attacks were carried out, and only where there are any."""
    out, plain = whole
    cells = {row["cell"]["attack"] and row["cell"]["attack"]["direction"]: row["outcome"] for row in plain["cells"]}
    assert set(cells) == {None, "forward", "backward"}
    assert [cells[way]["attacks_fired"] > 0 for way in (None, "forward", "backward")] == [False, True, True]
    assert len({row["weights_root"] for row in cells.values()}) == CELLS
    for outcome in cells.values():
        assert outcome["steps"] == MICRO.map_steps
        assert [step for step, _ in outcome["curve"]] == [2, 4]
        assert outcome["last_perplexity"] > 1.0
    assert plain["missing_cells"] == 0
    page = (out / "map.md").read_text()
    assert "| gpt2 | wikitext | adamw | 0.001 | none |" in page
    assert (out / "map.png").read_bytes().startswith(b"\x89PNG")


def test_two_starts_in_one_folder_are_refused(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "cells").mkdir()
    with (tmp_path / "cells" / "map.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunFolderError, match="SW-R121"):
            run_experiment("map", scale=MICRO, out=tmp_path)
