"""`trace.jsonl`: when each pass of a step really ran, for steps 0, 1, 2, 4, 8, ... so that the file stays small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shieldwall.pipeline.coordinator import StepResult
from shieldwall.schedule import Plan

_DIGITS = 7
"""Of a second: a tenth of a microsecond, finer than what is measured."""


def is_traced(step: int) -> bool:
    """Whether `step` (from 0) gets a line."""
    return step & (step - 1) == 0 if step else True


def trace_line(plan: Plan, cut: Sequence[int], result: StepResult, seconds: float) -> dict[str, Any]:
    """A line of `trace.jsonl`.

    Args:
        plan: that was played.
        cut: layers of each stage; a resumed run may be cut anew, and then its plan.json is another too.
        result: of the step.
        seconds: of the whole step, update included.
    """
    work = {
        lane.host: [
            [done.action, round(done.start_s, _DIGITS), round(done.end_s, _DIGITS)] for done in result.work[lane.host]
        ]
        for lane in plan.lanes
    }
    return {"step": result.step, "seconds": seconds, "cut": list(cut), "work": work}
