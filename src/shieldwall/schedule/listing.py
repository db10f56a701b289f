"""Lanes as text, action by action, with a mark at the spot that a message is about."""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.schedule.plan import Lane, Plan

MARK = "<-- HERE"
"""Stands behind the action that a message is about, at the end of a line."""

_WIDTH = 96


def render_lanes(plan: Plan, mark: tuple[str, int] | None = None) -> str:
    """Every lane of `plan`, also of one that cannot be played.

        initiator    0: F0.0  SA0.0>worker-1  F0.1  SA0.1>worker-1
        worker-1     0: RA0.0<initiator  F1.0  <-- HERE
                     2: SA1.0>initiator

    The number is the position of the row's first action in its lane, from 0.

    Args:
        plan: what to list.
        mark: (host, position); the length of its lane marks its end.
    """
    width = max((len(name) for name in _names(plan)), default=0)
    rows = [row for lane in plan.lanes for row in _lane_rows(lane, width, mark)]
    idle = [host.name for host in plan.hosts if all(lane.host != host.name for lane in plan.lanes)]
    rows += [f"{name:<{width}}  no lane  {MARK if mark and mark[0] == name else ''}".rstrip() for name in idle]
    return "\n".join(rows)


def _names(plan: Plan) -> list[str]:
    return [host.name for host in plan.hosts] + [lane.host for lane in plan.lanes]


def _lane_rows(lane: Lane, width: int, mark: tuple[str, int] | None) -> Iterator[str]:
    marked = mark[1] if mark and mark[0] == lane.host else None
    cells = [str(action) for action in lane.actions]
    if marked == len(cells):
        cells.append("end of lane")
    name, start, row = lane.host, 0, ""
    for position, cell in enumerate(cells):
        if row and len(row) + len(cell) > _WIDTH - width:
            yield f"{name:<{width}} {start:>4}: {row}"
            name, start, row = "", position, ""
        row = f"{row}  {cell}" if row else cell
        if position == marked:
            yield f"{name:<{width}} {start:>4}: {row}  {MARK}"
            name, start, row = "", position + 1, ""
    if row or not cells:
        yield f"{name:<{width}} {start:>4}: {row or 'nothing to do'}"
