"""What the reports of a played step come to: losses by micro-batch, and only from whom they count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from shieldwall.core.messages import NonFinite, Played

K = TypeVar("K")


def merge(parts: Iterable[Mapping[K, Tensor]]) -> dict[K, Tensor]:
    """All of them in one; of what stands in several, the last."""
    return {key: value for part in parts for key, value in part.items()}


def losses_of(played: Sequence[Played]) -> dict[int, float]:
    """Each micro-batch's mean loss, in order; of what was run again the last."""
    merged = merge(report.losses for report in played)
    return {micro_batch: float(merged[micro_batch]) for micro_batch in sorted(merged)}


def as_played(report: Played | NonFinite, step: int, attempt: int, *, has_losses: bool) -> Played:
    """What a report says that its host may say.

    Under oversight a NaN or an infinity is stated under signature (`Halt`): a report of one says no more than that its
    host has ended, and the join finds what is missing.
    """
    if isinstance(report, NonFinite):
        return Played(host=report.host, step=step, attempt=attempt, losses={}, work=())
    return report if has_losses else replace(report, losses={})
