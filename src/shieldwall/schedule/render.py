"""A plan as text: the grid of a step, and the lanes action by action (`render_lanes`, from `listing`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import ceil, floor

from shieldwall.schedule.costs import StageCosts, equal_slots
from shieldwall.schedule.listing import render_lanes
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.rows import labels_of, rows_of
from shieldwall.schedule.simulate import Timeline, simulate
from shieldwall.schedule.timing import TimedAction

__all__ = ["render_grid", "render_lanes"]

_WIDTH = 120
_MOST_SLOTS = 400
_ROUNDING = 1e-9
_Cells = dict[int, str]


def render_grid(plan: Plan, costs: StageCosts | None = None) -> str:
    """One row for each stage and duplicate, one column for each time slot, at most 120 characters wide.

    Long steps go on below.

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
        f"{plan.schedule}, {_count(plan.stages, 'stage')}, {_count(len(plan.chosen), 'micro-batch')}, "
        f"{purpose}: "
        f"{_count(slots, 'slot')}{unit}, {_count(len(plan.lanes), 'host')} idle {timeline.idle_share:.1%} of the time"
    )
    checks = [f"checks settled {plan.when}"] if any(host.duplicates for host in plan.hosts) else []
    star = ["every tensor passes the server"] if plan.topology == "star" else []
    return "\n".join([head, *checks, *star, "", *_bands(plan, timeline, slot_s, slots), "", _legend(plan, costs)])


def _count(number: int, what: str) -> str:
    plural = "" if number == 1 else "es" if what.endswith("ch") else "s"
    return f"{number} {what}{plural}"


def _slot_s(timeline: Timeline) -> float:
    shortest = min((done.end_s - done.start_s for done in timeline.work if done.end_s > done.start_s), default=1.0)
    return max(shortest, timeline.step_s / _MOST_SLOTS)


def _cells(work: Iterable[TimedAction], slot_s: float) -> _Cells:
    """What to print in which slot of a row."""
    cells: _Cells = {}
    for done in work:
        first = floor(done.start_s / slot_s + _ROUNDING)
        last = max(first, ceil(done.end_s / slot_s - _ROUNDING) - 1)
        for slot in range(first + 1, last + 1):
            cells[slot] = "="
        letter = done.kind.lower() if done.kind.is_check else done.kind
        cells[first] = f"{letter}{done.micro_batch}" if cells.get(first, "=") == "=" else "+"
    return cells


def _bands(plan: Plan, timeline: Timeline, slot_s: float, slots: int) -> Iterator[str]:
    """The grid, cut where the line is full."""
    shown = rows_of(plan)
    labels = labels_of(shown)
    rows = [_cells((done for done in timeline.work if row.holds(done)), slot_s) for row in shown]
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
    if any(host.duplicates for host in plan.hosts):
        parts[-1:-1] = ["d1 check of F1", "e1 check of B1"] if plan.training else ["d1 check of F1"]
    if costs is not None:
        parts += ["= goes on", "+ several passes"]
    return "   ".join(parts)
