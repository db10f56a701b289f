"""One subject's part of a grid, from which an experiment makes its cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shieldwall.lab.experiment.base import Subject
from shieldwall.lab.experiment.cell import Cell, CellAttack
from shieldwall.lab.experiment.scale import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One subject's part of a grid."""

    scale: Scale
    subject: Subject
    learning_rate: float
    """The clean run's best; for a grid that is not tuned, the first of the scale's."""
    tuning_seed: int
    seeds: tuple[int, ...]
    """The others, which results are reported on."""

    def cell(self, attack: CellAttack | None = None) -> Cell:
        """A cell with the plot's settings and its first seed."""
        return Cell(
            scale=self.scale.identity,
            family=self.subject.family,
            corpus=self.subject.corpus,
            basis=self.subject.basis,
            attack=attack,
            learning_rate=self.learning_rate,
            clipping=self.scale.clippings[0],
            steps=self.scale.steps,
            points=self.scale.evaluations,
            seed=self.seeds[0],
        )

    def each_seed(self, *cells: Cell) -> list[Cell]:
        """These cells for every seed."""
        return [replace(cell, seed=seed) for seed in self.seeds for cell in cells]

    def tuning_cells(self) -> list[Cell]:
        """Clean runs on the tuning seed, one for each learning rate."""
        return [replace(self.cell(), learning_rate=rate, seed=self.tuning_seed) for rate in self.scale.tuning]


def paper_attack(direction: str, rate: float, *, each_attempt: bool = False) -> CellAttack:
    """The paper's attacker: in each step, with probability `rate`, one middle stage, drawn anew.

    Forward it sends -a, backward noise from N(0, 1) in the place of the gradient. Source: arXiv 2312.00843, section 3.
    """
    kind = {"forward": "sign_flip", "backward": "gaussian"}[direction]
    return CellAttack(kind=kind, direction=direction, rate=rate, each_attempt=each_attempt)
