"""How a plan that cannot be played is refused: the whole plan, the spot in it, and what should stand there."""

from __future__ import annotations

from shieldwall.core.errors import PlanError
from shieldwall.schedule.listing import render_lanes
from shieldwall.schedule.plan import Plan


def broken_plan(code: str, summary: str, plan: Plan, mark: tuple[str, int], *, expected: str, got: str) -> PlanError:
    """The refusal of `plan`, with all lanes printed and the spot marked.

    Args:
        code: `SW-P12x`.
        summary: one line that names the trouble.
        plan: the plan as it is.
        mark: (host, position in its lane, from 0).
        expected: what would have been right at the spot.
        got: what stands there instead.
    """
    host, position = mark
    return PlanError(
        code,
        summary,
        where=f"host {host}, position {position} of its lane\n{render_lanes(plan, mark)}",
        expected=expected,
        got=got,
        remedy="mend the lane at the mark, or make the plan anew with make_plan",
    )
