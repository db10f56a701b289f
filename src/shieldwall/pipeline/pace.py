"""How long hosts' passes took in a step, beside what they should take by the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from shieldwall.core.messages import PassTime
from shieldwall.schedule import Plan, StageCosts
from shieldwall.schedule.actions import Action


def paces(plan: Plan, costs: StageCosts, work: Mapping[str, Sequence[PassTime]]) -> dict[str, tuple[float, float]]:
    """By host of the plan: the seconds that its passes should take, and took.

    Args:
        plan: that was played.
        costs: what each pass takes by the plan.
        work: by host, when its passes ran, as the hosts say; what is not of the plan or makes no sense is left out.
    """
    return {lane.host: _pace(lane.actions, costs, work.get(lane.host, ())) for lane in plan.lanes}


def _pace(actions: Sequence[Action], costs: StageCosts, work: Sequence[PassTime]) -> tuple[float, float]:
    wanted = {str(action): costs.seconds(action) for action in actions if action.kind.is_compute}
    done = {each.action: each.end_s - each.start_s for each in work if each.action in wanted}
    done = {text: took_s for text, took_s in done.items() if 0 <= took_s < math.inf}
    return sum(wanted[text] for text in done), math.fsum(done.values())
