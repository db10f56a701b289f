"""What a process holds of its machine, looked at again and again, and how much that grows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

MIB = 2**20
MEASURES = ("memory_mib", "files", "threads")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look."""

    step: int
    """Steps that were committed then."""
    memory_mib: float
    """Resident, pages shared with other processes among them."""
    files: int
    """Open files and sockets."""
    threads: int


@dataclass(frozen=True, slots=True)
class Growth:
    """One measure over a run."""

    first: float
    """Median of the second quarter of the looks; in the first a process takes what it needs once."""
    last: float
    """Median of the last quarter."""
    slope: float
    """Per 100 steps, by least squares from the second quarter on."""

    @property
    def ratio(self) -> float:
        """Last over first."""
        return self.last / self.first


def look(pid: int, step: int) -> Sample | None:
    """A look at a process; None where it is not there any more."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Sample(step, process.memory_info().rss / MIB, process.num_fds(), process.num_threads())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def growth(samples: Sequence[Sample], measure: str) -> Growth:
    """How much a measure grew; at least four looks are needed."""
    quarter = len(samples) // 4
    values = [(sample.step, float(getattr(sample, measure))) for sample in samples[quarter:]]
    return Growth(
        first=statistics.median(value for _, value in values[:quarter]),
        last=statistics.median(value for _, value in values[-quarter:]),
        slope=100 * _slope(values),
    )


def _slope(points: Sequence[tuple[int, float]]) -> float:
    mean_step = statistics.fmean(step for step, _ in points)
    mean = statistics.fmean(value for _, value in points)
    spread = sum((step - mean_step) ** 2 for step, _ in points)
    return sum((step - mean_step) * (value - mean) for step, value in points) / spread if spread else 0.0
