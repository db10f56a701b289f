"""Several ways to train, measured in turns.

Each repeat runs every way for a few steps, in an order drawn anew, so that whatever else the machine does hits all of
them alike. What counts is the ratio between two ways within the same repeat.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Spread
from shieldwall.lab.subject import Trainer


@dataclass(frozen=True, slots=True)
class TimedSteps:
    """What some steps took, and each one's loss."""

    seconds: float
    """Of one step, on average."""
    losses: Sequence[float]


class Way(Protocol):
    """One way to train the subject."""

    async def train_timed(self, first: int, last: int) -> TimedSteps:
        """Train the steps `first` to `last - 1` against the clock."""


class InThisProcess:
    """Times a trainer of this process.

    Args:
        trainer: what trains.
        device: where it computes; work that is only queued there does not count as done.
    """

    def __init__(self, trainer: Trainer, device: str = "cpu") -> None:
        self._trainer, self._device = trainer, torch.device(device)

    async def train_timed(self, first: int, last: int) -> TimedSteps:
        gc.collect()
        self._finish()
        start = time.perf_counter()
        losses = await self._trainer.train(first, last)
        self._finish()
        return TimedSteps((time.perf_counter() - start) / (last - first), losses)

    def _finish(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of all ways, by name."""

    seconds: Mapping[str, list[float]]
    """Seconds of a step, one for each repeat."""
    losses: Mapping[str, list[float]]
    """Of each step, those that warmed up included."""

    def ratios(self, name: str, base: str) -> Spread:
        """Tokens per second of `name` over those of `base` in the same repeat."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return Spread(tuple(theirs / ours for ours, theirs in pairs))

    def speed_cells(self, name: str, base: str, step_tokens: int) -> dict[str, Any]:
        """A row's cells for `SPEED_COLUMNS`."""
        seconds = self.seconds[name]
        return {
            **Spread(tuple(step_tokens / each for each in seconds)).to_json("tokens_per_second"),
            **self.ratios(name, base).to_json("ratio"),
            "step_ms_median": Spread(tuple(seconds)).median * 1e3,
        }


SPEED_COLUMNS = (
    Column("tokens_per_second_median", "tokens/s, median", "{:,.0f}"),
    Column("tokens_per_second_min", "least", "{:,.0f}"),
    Column("tokens_per_second_max", "most", "{:,.0f}"),
    Column("ratio_median", "ratio to plain, median", "{:.3f}"),
    Column("ratio_min", "least", "{:.3f}"),
    Column("ratio_max", "most", "{:.3f}"),
    Column("step_ms_median", "ms a step", "{:.1f}"),
)


async def measure_in_turns(
    ways: Mapping[str, Way], chunks: range, *, steps: int, rng: random.Random, ticker: Ticker, what: str
) -> Measured:
    """Train `chunks` of `steps` steps in every way; the first of them only warms up.

    Args:
        ways: by name.
        chunks: chunk `c` is the steps `c * steps` to `(c + 1) * steps - 1`.
        steps: of one way in one repeat.
        rng: draws the order of the ways.
        ticker: told when a way has done a chunk.
        what: name of the measurement for `ticker`.
    """
    ticker.begin(what, len(chunks) * len(ways))
    names = list(ways)
    measured = Measured({name: [] for name in names}, {name: [] for name in names})
    for chunk in chunks:
        rng.shuffle(names)
        for name in names:
            timed = await ways[name].train_timed(chunk * steps, (chunk + 1) * steps)
            measured.losses[name].extend(timed.losses)
            if chunk > chunks[0]:
                measured.seconds[name].append(timed.seconds)
            ticker.tick()
    return measured
