"""Finished cells, looked up by what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shieldwall.lab.experiment.cell import Finished, Outcome

Measure = Callable[[Outcome], float | None]


def early_stopped(outcome: Outcome) -> float | None:
    """Test perplexity of the weights that early stopping keeps."""
    return outcome.perplexity


def unstopped(outcome: Outcome) -> float | None:
    """Test perplexity of the last weights."""
    return outcome.last_perplexity


class Results:
    """Finished cells in a fixed order.

    Args:
        finished: in any order.
    """

    def __init__(self, finished: Iterable[Finished]) -> None:
        self._finished = sorted(finished, key=lambda each: (each.cell.seed, each.cell.key))

    def __iter__(self) -> Iterator[Finished]:
        return iter(self._finished)

    def __len__(self) -> int:
        return len(self._finished)

    def where(self, **wanted: Any) -> Results:
        """Those whose cells have these values."""
        return Results(
            each for each in self._finished if all(getattr(each.cell, name) == value for name, value in wanted.items())
        )

    def by_seed(self, measure: Measure) -> dict[int, float | None]:
        """Seed to measure; these cells differ in nothing but their seeds."""
        return {each.cell.seed: measure(each.outcome) for each in self._finished}

    def groups(self, *names: str) -> list[dict[str, Any]]:
        """The combinations of values that occur under these names, in a fixed order."""
        found = {tuple(getattr(each.cell, name) for name in names) for each in self._finished}
        return [dict(zip(names, values, strict=True)) for values in sorted(found)]
