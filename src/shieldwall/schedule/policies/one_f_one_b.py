"""1F1B: backward as early as it can be. As idle as GPipe, but stage i keeps at most K - i micro-batches.

    stage K-1   F0 B0 F1 B1 F2 B2 ...
    stage K-2   F0 | F1 B0 F2 B1 ...          | ends the warm-up of min(M, K-1-i) forward passes

Source: Narayanan et al., PipeDream, SOSP 2019; the flushed form of Megatron-LM, SC 2021 (arXiv 2104.04473).
"""

from __future__ import annotations

from shieldwall.schedule.actions import Action, Kind


def order(stage: int, stages: int, micro_batches: int) -> tuple[Action, ...]:
    """What `stage` of `stages` computes in one step: warm-up, one forward one backward, then the rest."""
    warm_up = min(micro_batches, stages - 1 - stage)
    actions = [Action(Kind.FORWARD, stage, m) for m in range(warm_up)]
    for m in range(micro_batches - warm_up):
        actions += [Action(Kind.FORWARD, stage, warm_up + m), Action(Kind.BACKWARD, stage, m)]
    actions += [Action(Kind.BACKWARD, stage, m) for m in range(micro_batches - warm_up, micro_batches)]
    return tuple(actions)
