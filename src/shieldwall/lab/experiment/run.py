"""Runs an experiment: base models, then the clean runs that settings are chosen on, then the grid, then the page.

    texts -> base models -> tuning cells (seed 0) -> the clean run's best learning rate -> cells (other seeds) -> page

Each finished cell is on the disk before the next is begun in its place; a second start does only what is missing.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from shieldwall.core.errors import RunFolderError
from shieldwall.core.files import held_alone, remove_partials, storing
from shieldwall.lab.experiment.base import BaseTask, base_task, is_ready, make_base, remove_unfinished
from shieldwall.lab.experiment.cell import Cell
from shieldwall.lab.experiment.choice import Choice, choose
from shieldwall.lab.experiment.grid import Experiment, Grid
from shieldwall.lab.experiment.play import CellTask, play
from shieldwall.lab.experiment.plot import Plot
from shieldwall.lab.experiment.pool import Pool
from shieldwall.lab.experiment.scale import Scale, find_scale, unknown_choice
from shieldwall.lab.experiment.store import CELLS, CellStore
from shieldwall.lab.experiment.texts import find_texts
from shieldwall.lab.experiment.view import GridView, SilentGrid
from shieldwall.models.source import find_folder, open_source, tiny_family

EXPERIMENTS = ("vulnerability", "defence", "detection", "map")

_WORK = "work"


def find_experiment(name: str) -> Experiment:
    """The module of that name.

    Raises:
        ConfigError: SW-C121; there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise unknown_choice("experiment", name, EXPERIMENTS, "shieldwall experiment NAME")
    return cast("Experiment", importlib.import_module(f"shieldwall.lab.experiment.{name}"))


def run_experiment(
    name: str,
    *,
    scale: str | Scale = "tiny",
    out: Path = Path("experiments"),
    data: Path | None = None,
    only: Sequence[str] = (),
    model: str = "",
    processes: int | None = None,
    seed: int = 0,
    view: GridView | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Run what is missing of an experiment, and write `NAME.json`, `NAME.md` and `NAME.png` under `out`.

    Args:
        name: `vulnerability`, `defence`, `detection` or `map`.
        scale: `tiny`, `small` or `gpu`, or a scale of one's own.
        out: where results, finished cells and base models lie; made if it is not there.
        data: folder with `wikitext2/`, `arxiv/` and `openwebtext/`; the text that Python carries if not given.
        only: families and corpora to run; the page is of everything that is finished.
        model: a folder or a name on the hub, in the place of the scale's base model; for one family.
        processes: how many cells are run at once, each with one thread; the cores if not given.
        seed: settings are chosen on it, results reported on those after it.
        view: shows progress; nothing is shown if not given.
        command: what the page says that it was made by.

    Returns:
        What `NAME.json` holds.

    Raises:
        ConfigError: SW-C121, no such experiment or scale; SW-C122, no such part; SW-C123, no such text.
        RunFolderError: SW-R121; another process runs this experiment in `out`.
        Interrupted: SW-I101; a signal came, finished cells are kept.
        ShieldwallError: as `train`, from a cell that cannot be run.
    """
    experiment = find_experiment(name)
    chosen = find_scale(scale) if isinstance(scale, str) else scale
    if model:
        chosen = replace(chosen, families=(_family_of(model),))
    corpora = chosen.own_corpora if data is None else chosen.corpora
    choice = choose(only, chosen.families, corpora)
    with _claimed(out, name):
        texts = {corpus: find_texts(corpus, data, out) for corpus in corpora}
        grid = Grid(
            experiment=experiment,
            scale=chosen,
            seed=seed,
            store=CellStore(out, name),
            texts=texts,
            bases={
                (family, corpus): base_task(family, texts[corpus], chosen, out, model)
                for family in chosen.families
                for corpus in corpora
            },
        )
        player = _Player(grid, choice, out / _WORK / name, processes or os.cpu_count() or 1, view or SilentGrid())
        player.play()
        return grid.record(name, command or f"shieldwall experiment {name} --scale {chosen.name}").write(out)


class _Player:
    """Plays what is missing of the chosen part of a grid.

    Args:
        grid: the whole of it.
        choice: the part.
        work: where runs lie while they are played; removed at the end.
        processes: how many cells at once.
        view: shows progress.
    """

    def __init__(self, grid: Grid, choice: Choice, work: Path, processes: int, view: GridView) -> None:
        self._grid = grid
        self._choice = choice
        self._work = work
        self._pool = Pool(processes)
        self._view = view

    def play(self) -> None:
        """Base models, tuning, cells."""
        self._begin()
        try:
            self._make_bases()
            plots = [plot for plot in self._grid.plots() if self._takes(plot)]
            if self._grid.experiment.TUNED:
                self._play_cells([(plot, cell) for plot in plots for cell in plot.tuning_cells()])
                plots = [plot for plot in self._grid.plots() if self._takes(plot)]
            self._play_cells([(plot, cell) for plot in plots for cell in self._grid.cells(plot)])
        finally:
            self._pool.end()
            self._view.end()
            shutil.rmtree(self._work, ignore_errors=True)

    def _begin(self) -> None:
        for folder in (self._work.parent.parent, self._grid.store.folder):
            if folder.exists():
                remove_partials(folder)
        shutil.rmtree(self._work, ignore_errors=True)
        remove_unfinished(self._work.parent.parent)
        chosen = [subject for subject in self._grid.bases if self._choice.takes(*subject)]
        self._view.begin(self._grid.cells_of_a_subject * len(chosen))

    def _takes(self, plot: Plot) -> bool:
        return self._choice.takes(plot.subject.family, plot.subject.corpus)

    def _make_bases(self) -> None:
        wanted = {
            task.folder: task
            for subject, task in self._grid.bases.items()
            if self._choice.takes(*subject) and not is_ready(task)
        }
        for _ in self._pool.run(make_base, list(wanted.values()), self._tell):
            pass

    def _play_cells(self, cells: Sequence[tuple[Plot, Cell]]) -> None:
        missing = [
            CellTask(cell=cell, subject=plot.subject, scale=self._grid.scale, work=self._work)
            for plot, cell in cells
            if self._grid.store.read(cell) is None
        ]
        for _ in range(len(cells) - len(missing)):
            self._view.played()
        for _, finished in self._pool.run(play, missing, self._tell):
            self._grid.store.write(finished)
            self._view.played()

    def _tell(self, task: BaseTask | CellTask) -> None:
        self._view.playing(str(task))


def _family_of(model: str) -> str:
    """The family of a model that is given."""
    tiny = tiny_family(model)
    return tiny if tiny is not None else str(open_source(find_folder(model)).config.model_type)


@contextmanager
def _claimed(out: Path, name: str) -> Iterator[None]:
    """Keep other processes from running the same experiment here; the lock goes with the process, however it ends.

    Raises:
        RunFolderError: SW-R121; another process runs it here.
        StorageError: SW-S101.
    """
    lock = out / CELLS / f"{name}.lock"
    taken = RunFolderError(
        "SW-R121",
        "another process runs this experiment here",
        where=str(out),
        expected="one process at a time; it uses several cores by itself (--processes)",
        got=f"{lock.name} is held",
        remedy="wait for it, stop it, or give another --out",
    )
    with storing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    with held_alone(lock, taken):
        yield
