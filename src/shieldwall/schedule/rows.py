"""The rows of a grid or picture: one for each stage, and one for each duplicate below the stage behind its own.

Under the usual custody that is the row of the checker's own stage, so its two rows show how full it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.schedule.plan import Plan
from shieldwall.schedule.timing import TimedAction


@dataclass(frozen=True, slots=True)
class Row:
    """A stage, or the duplicate of one where `is_check`, and its host."""

    stage: int
    is_check: bool
    host: str

    def holds(self, done: TimedAction) -> bool:
        """Whether `done` belongs into this row."""
        return done.stage == self.stage and done.kind.is_check == self.is_check


def rows_of(plan: Plan) -> tuple[Row, ...]:
    """All rows, from the top."""
    rows = [Row(stage, False, plan.host_of(stage)) for stage in range(plan.stages)]
    checkers = {stage: plan.checker_of(stage) for stage in range(plan.stages)}
    rows += [Row(stage, True, host) for stage, host in checkers.items() if host is not None]
    return tuple(sorted(rows, key=lambda row: (row.stage + row.is_check, row.is_check)))


def labels_of(rows: tuple[Row, ...]) -> list[str]:
    """What stands in front of each row: `stage 3  worker-2`, `check 2  worker-2`."""
    width = max(len(str(row.stage)) for row in rows)
    return [f"{'check' if row.is_check else 'stage'} {row.stage:<{width}}  {row.host}" for row in rows]
