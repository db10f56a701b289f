"""GPipe: all forward passes of the step, then all backward passes. Simple, and it keeps all M micro-batches.

Source: Huang et al., GPipe, NeurIPS 2019 (arXiv 1811.06965).
"""

from __future__ import annotations

from shieldwall.schedule.actions import Action, Kind


def order(stage: int, stages: int, micro_batches: int) -> tuple[Action, ...]:  # noqa: ARG001 (the same at every stage)
    """What `stage` of `stages` computes in one step: F0 .. F(M-1), then B0 .. B(M-1)."""
    forwards = (Action(Kind.FORWARD, stage, m) for m in range(micro_batches))
    backwards = (Action(Kind.BACKWARD, stage, m) for m in range(micro_batches))
    return (*forwards, *backwards)
