"""How many micro-batches are kept at once, forward done and backward not: what activation memory grows with."""

from __future__ import annotations

from collections.abc import Iterable

from shieldwall.schedule.actions import Kind
from shieldwall.schedule.plan import Lane, Plan


def peak_in_flight(plan: Plan) -> dict[int, int]:
    """For each stage the most micro-batches that it keeps at once, forward done and backward not.

    This is what a stage's activation memory grows with: M under "gpipe", min(M, K - i) under "1f1b". Evaluation
    keeps nothing, so there it is 0.
    """
    found = peaks(plan.lanes, Kind.FORWARD, Kind.BACKWARD) if plan.training else {}
    return {stage: found.get(stage, 0) for stage in range(plan.stages)}


def peak_in_flight_of_duplicates(plan: Plan) -> dict[int, int]:
    """For each stage that has a duplicate the most micro-batches that the duplicate keeps at once; 0 in evaluation."""
    found = peaks(plan.lanes, Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD) if plan.training else {}
    return {stage: found.get(stage, 0) for stage in range(plan.stages) if plan.checker_of(stage) is not None}


def peaks(lanes: Iterable[Lane], opening: Kind, closing: Kind) -> dict[int, int]:
    """For each stage the most micro-batches for which an action was `opening` and none `closing` yet."""
    kept: dict[int, int] = {}
    peak: dict[int, int] = {}
    for lane in lanes:
        for action in lane.actions:
            if action.kind in (opening, closing):
                kept[action.stage] = kept.get(action.stage, 0) + (1 if action.kind is opening else -1)
                peak[action.stage] = max(peak.get(action.stage, 0), kept[action.stage])
    return peak
