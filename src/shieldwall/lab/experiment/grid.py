"""What an experiment is: a grid of cells, and a page made of what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shieldwall.lab.experiment.base import BaseTask, Subject, describe_subject, is_ready
from shieldwall.lab.experiment.cell import Cell
from shieldwall.lab.experiment.page import Page
from shieldwall.lab.experiment.plot import Plot
from shieldwall.lab.experiment.record import Record
from shieldwall.lab.experiment.results import Results
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.experiment.stopping import stop_early
from shieldwall.lab.experiment.store import CellStore
from shieldwall.lab.experiment.texts import Texts


class Experiment(Protocol):
    """A module of this package: how its cells are made, and what is made of them."""

    @property
    def TITLE(self) -> str:  # noqa: N802 (a module's constant)
        """The page's title."""

    @property
    def TUNED(self) -> bool:  # noqa: N802
        """Whether the learning rate is the clean run's best on the tuning seed; else the grid names its own."""

    def cells(self, plot: Plot) -> list[Cell]:
        """The cells of one subject."""

    def page(self, results: Results, scale: Scale) -> Page:
        """Tables, claims and picture of what is finished, be it all or a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All cells of an experiment at one scale on some texts, and which of them are finished."""

    experiment: Experiment
    scale: Scale
    seed: int
    """Settings are chosen on it, results reported on those after it."""
    store: CellStore
    texts: Mapping[str, Texts]
    bases: Mapping[tuple[str, str], BaseTask]
    """Family and corpus to the base model."""

    @property
    def cells_of_a_subject(self) -> int:
        """How many cells each family and corpus has."""
        (family, corpus), *_ = self.bases
        nobody = Subject(
            family=family, corpus=corpus, base=Path(), texts=self.texts[corpus], layers=self.scale.size.layers, basis=""
        )
        plot = self._plot(nobody, self.scale.tuning[0])
        return len(self.cells(plot)) + (len(plot.tuning_cells()) if self.experiment.TUNED else 0)

    def cells(self, plot: Plot) -> list[Cell]:
        """A subject's cells, the tuning ones aside."""
        return self.experiment.cells(plot)

    def plots(self) -> list[Plot]:
        """A plot for each subject whose base model is there; with the clean run's best learning rate, once known."""
        plots = []
        for (_, corpus), task in self.bases.items():
            if is_ready(task):
                plot = self._plot(describe_subject(task, self.texts[corpus]), self.scale.tuning[0])
                rate = self.best_rate(plot)
                plots.append(plot if rate is None else self._plot(plot.subject, rate))
        return plots

    def best_rate(self, plot: Plot) -> float | None:
        """Learning rate of the clean run that is best on validation; None while one of them is missing."""
        if not self.experiment.TUNED:
            return None
        found = [self.store.read(cell) for cell in plot.tuning_cells()]
        worth: dict[float, float] = {}
        for each in found:
            if each is None:
                return None
            curve = dict(each.outcome.curve)
            best = curve[stop_early(each.outcome.curve, self.scale.patience)] if curve else None
            worth[each.cell.learning_rate] = float("inf") if best is None else best
        return min(worth, key=lambda rate: worth[rate])

    def record(self, name: str, command: str) -> Record:
        """What is finished, be it all or a part."""
        plots = {(plot.subject.family, plot.subject.corpus): plot for plot in self.plots()}
        tuned = {subject: plot for subject, plot in plots.items() if self.best_rate(plot) is not None}
        known = tuned if self.experiment.TUNED else plots
        finished = [self.store.read(cell) for plot in known.values() for cell in self.cells(plot)]
        tuning = [self.store.read(cell) for plot in tuned.values() for cell in plot.tuning_cells()]
        results = Results(each for each in finished if each)
        done = len(results) + sum(each is not None for each in tuning)
        return Record(
            name=name,
            title=self.experiment.TITLE,
            command=command,
            scale=self.scale,
            seed=self.seed,
            texts={corpus: text.said for corpus, text in self.texts.items()},
            chosen={f"{family} on {corpus}": plot.learning_rate for (family, corpus), plot in tuned.items()},
            page=self.experiment.page(results, self.scale),
            results=results,
            tuning=Results(each for each in tuning if each),
            missing=self.cells_of_a_subject * len(self.bases) - done,
        )

    def _plot(self, subject: Subject, rate: float) -> Plot:
        return Plot(
            scale=self.scale,
            subject=subject,
            learning_rate=rate,
            tuning_seed=self.seed,
            seeds=tuple(range(self.seed + 1, self.seed + 1 + self.scale.seeds)),
        )
