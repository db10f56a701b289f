"""The schedules: each decides in which order a stage runs its forward and backward passes.

A schedule is a pure function `order(stage, stages, micro_batches)` that returns the stage's computations. It must
run backward in micro-batch order at every stage, because gradients are summed in that order. Other packages add one
through the entry-point group `shieldwall.schedules`.
"""

from __future__ import annotations

from shieldwall.core.registry import Registry

SCHEDULES = Registry(
    "shieldwall.schedules",
    {
        "gpipe": "shieldwall.schedule.policies.gpipe:order",
        "1f1b": "shieldwall.schedule.policies.one_f_one_b:order",
    },
)
"""Name of a schedule to its `order(stage, stages, micro_batches) -> tuple[Action, ...]`; see docs/schedule.md."""

__all__ = ["SCHEDULES"]
