"""Who is persistently late: measured against the medians of others, never against its own times (design 4.9)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median

from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import PassTime
from shieldwall.pipeline.pace import paces
from shieldwall.schedule import Plan, StageCosts

TIMES = 5.0
"""So many times as long as the others need for what they have to do is late."""
LEAST_S = 1.0
"""What is less than that above a step's share is no lateness: small models jitter."""
STEPS = 3
"""So many steps in a row, and the worker loses its stages."""


class Lateness:
    """Counts late steps in a row.

    Args:
        costs: what each pass takes by the plan.
    """

    def __init__(self, costs: StageCosts) -> None:
        self._costs = costs
        self._late: dict[str, list[float]] = {}
        """By host, the ends of the late steps in a row, by `time.monotonic()`."""

    def note(self, plan: Plan, work: Mapping[str, Sequence[PassTime]]) -> dict[str, float]:
        """Hear when the passes of a step ran; gives who has been late for too long, and for how long, in seconds.

        Args:
            plan: that was played.
            work: by host, as the hosts say. Whoever gives shorter times than it took only keeps its work.
        """
        found = paces(plan, self._costs, work)
        late = {host: self._is_late(host, found) for host in found if host != INITIATOR}
        now_s = time.monotonic()
        self._late = {host: [*self._late.get(host, ()), now_s] for host, is_late in late.items() if is_late}
        return {host: now_s - ends_s[0] for host, ends_s in self._late.items() if len(ends_s) >= STEPS}

    def _is_late(self, host: str, found: Mapping[str, tuple[float, float]]) -> bool:
        others = [took / wanted for other, (wanted, took) in found.items() if other != host and wanted > 0]
        if not others:
            return False
        wanted, took = found[host]
        share = wanted * median(others)
        return took > TIMES * share and took - share > LEAST_S
