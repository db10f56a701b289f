"""A plan as text: the grid of a step, and the lanes action by action (`render_lanes`, from `listing`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, floor

from shieldwall.schedule.costs import StageCosts, equal_slots
from shieldwall.schedule.hosts import hosts_by_stage
from shieldwall.schedule.listing import render_lanes
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.simulate import Timeline, simulate

__all__ = ["render_grid", "render_lanes"]

_WIDTH = 120
_MOST_SLOTS = 400
_ROUNDING = 1e-9
_Row = dict[int, str]


def render_grid(plan: Plan, costs: StageCosts | None = None) -> str:
    """One row for each stage, one column for each time slot, at most 120 characters wide; long steps go on below.

    Args:
        plan: any plan that `validate_plan` accepts.
        costs: where given, a slot is as long as the shortest pass (a 400th of the step at least); where None, every
            pass takes one slot, whatever the speed of its host.

    Raises:
        PlanError: as `simulate`.
    """
    if costs is None:
        plan = replace(plan, hosts=tuple(replace(host, speed=1.0) for host in plan.hosts))
    timeline = simulate(plan, equal_slots(plan.stages) if costs is None else costs)
    slot_s = _slot_s(timeline)
    slots = max(1, ceil(timeline.step_s / slot_s - _ROUNDING))
    unit = "" if costs is None else f" of {slot_s:.3g} s"
    purpose = "training" if plan.training else "evaluation"
    head = (
        f"{plan.schedule}, {_count(plan.stages, 'stage')}, {_count(plan.micro_batches, 'micro-batch')}, {purpose}: "
        f"{_count(slots, 'slot')}{unit}, {_count(len(plan.lanes), 'host')} idle {timeline.idle_share:.1%} of the time"
    )
    return "\n".join([head, "", *_bands(plan, _cells(plan, timeline, slot_s), slots), "", _legend(plan, costs)])


def _count(number: int, what: str) -> str:
    plural = "" if number == 1 else "es" if what.endswith("ch") else "s"
    return f"{number} {what}{plural}"


def _slot_s(timeline: Timeline) -> float:
    shortest = min((done.end_s - done.start_s for done in timeline.work if done.end_s > done.start_s), default=1.0)
    return max(shortest, timeline.step_s / _MOST_SLOTS)


def _cells(plan: Plan, timeline: Timeline, slot_s: float) -> list[_Row]:
    """For each stage what to print in which slot."""
    rows: list[_Row] = [{} for _ in range(plan.stages)]
    for done in timeline.work:
        row = rows[done.stage]
        first = floor(done.start_s / slot_s + _ROUNDING)
        last = max(first, ceil(done.end_s / slot_s - _ROUNDING) - 1)
        for slot in range(first + 1, last + 1):
            row[slot] = "="
        row[first] = f"{done.kind}{done.micro_batch}" if row.get(first, "=") == "=" else "+"
    return rows


def _bands(plan: Plan, rows: list[_Row], slots: int) -> Iterator[str]:
    """The grid, cut where the line is full."""
    names = hosts_by_stage(plan.hosts)
    labels = [f"stage {stage:<{len(str(plan.stages - 1))}}  {names[stage].name}" for stage in range(plan.stages)]
    margin = max(len("slot"), *map(len, labels)) + 1
    cell = max(len(text) for text in (str(slots - 1), *(text for row in rows for text in row.values())))
    step = max(1, (_WIDTH - margin) // (cell + 1))
    for start in range(0, slots, step):
        columns = range(start, min(slots, start + step))
        if start:
            yield ""
        yield _line("slot", margin, [str(slot) for slot in columns], cell)
        for label, row in zip(labels, rows, strict=True):
            yield _line(label, margin, [row.get(slot, ".") for slot in columns], cell)


def _line(label: str, margin: int, texts: list[str], cell: int) -> str:
    return (f"{label:<{margin}}" + "".join(f" {text:<{cell}}" for text in texts)).rstrip()


def _legend(plan: Plan, costs: StageCosts | None) -> str:
    parts = ["F1 forward of micro-batch 1", "B1 backward", ". idle"]
    if not plan.training:
        parts.remove("B1 backward")
    if costs is not None:
        parts += ["= goes on", "+ several passes"]
    return "   ".join(parts)
