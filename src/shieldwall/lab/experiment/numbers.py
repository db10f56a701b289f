"""Figures over seeds: mean and spread, and ratios that are taken seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_SHOWN, MOST_SHOWN = 0.01, 1e5
"""Beyond these a number is written with an exponent."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One measure over seeds, in their order; infinite where a model has no perplexity. Never empty."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Infinite as soon as one is."""
        return sum(self.values) / len(self.values)

    def to_json(self) -> dict[str, Any]:
        """Mean, least, greatest and every value; null where infinite."""
        return {
            "mean": finite(self.mean),
            "least": finite(min(self.values)),
            "greatest": finite(max(self.values)),
            "values": [finite(value) for value in self.values],
        }

    def __str__(self) -> str:
        if len(self.values) == 1 or min(self.values) == max(self.values):
            return show(self.mean)
        return f"{show(self.mean)} ({show(min(self.values))} to {show(max(self.values))})"


def spread_of(by_seed: Mapping[int, float | None]) -> Spread | None:
    """None where there is no seed; a seed without a value counts as infinite."""
    if not by_seed:
        return None
    return Spread(tuple(math.inf if by_seed[seed] is None else float(by_seed[seed] or 0.0) for seed in sorted(by_seed)))


def ratio_of(above: Mapping[int, float | None], below: Mapping[int, float | None]) -> Spread | None:
    """Quotients seed by seed, over the seeds that both have; None where they share none.

    Whatever is without a perplexity is infinitely many times worse; two of them have no quotient and are left out.
    """
    quotients: dict[int, float | None] = {}
    for seed in above.keys() & below.keys():
        top, bottom = above[seed], below[seed]
        if bottom is not None:
            quotients[seed] = None if top is None else top / bottom
    return spread_of(quotients)


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def show(value: float) -> str:
    """A figure for people; ∞ stands for a model without a perplexity."""
    if math.isinf(value):
        return "∞"
    if value and not LEAST_SHOWN <= abs(value) < MOST_SHOWN:
        return f"{value:.2g}"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"
