"""Early stopping: which of a run's saved weights somebody would keep who watches the validation text."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[int, float | None]
"""Step and perplexity; None is worse than any number."""


def stop_early(curve: Sequence[Point], patience: int) -> int:
    """The step whose weights are kept.

    Training stops after `patience` points without a better one; the best of those until then is kept, the first of
    equals. A run without a single finite point keeps its first.

    Args:
        curve: in the order of the steps, not empty.
        patience: 0 never stops: the best of all is kept.
    """
    best_step, best = curve[0][0], _worth(curve[0])
    waited = 0
    for point in curve[1:]:
        if _worth(point) < best:
            best_step, best, waited = point[0], _worth(point), 0
            continue
        waited += 1
        if waited == patience:
            break
    return best_step


def _worth(point: Point) -> float:
    return float("inf") if point[1] is None else point[1]
