"""The learning rate of each step: warm-up, then constant, linear or cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRate:
    """A published function of the step.

    Args:
        peak: the rate at the end of the warm-up.
        warmup_steps: steps of linear growth; step `s` of them has `peak * (s + 1) / warmup_steps`.
        steps: number of steps of the whole run; the decaying shapes reach 0 one step after the last.
        shape: what follows the warm-up.
    """

    peak: float
    warmup_steps: int
    steps: int
    shape: Shape

    def at(self, step: int) -> float:
        """The rate of `step` (from 0)."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        if self.shape == "linear":
            return self.peak * (1.0 - progress)
        if self.shape == "cosine":
            return self.peak * 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.peak
