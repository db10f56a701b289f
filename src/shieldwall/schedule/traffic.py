"""Which tensors of a step pass the initiator, and which go from worker to worker."""

from __future__ import annotations

from typing import NamedTuple

from shieldwall.core.ids import INITIATOR, SERVER
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.flow import parcel_of
from shieldwall.schedule.plan import Plan


class Traffic(NamedTuple):
    """How often tensors of one step travel, by where they do; all tensors of a run have one size.

    The server of a star stands beside the initiator: what one hands to the other travels nowhere.
    """

    up: int
    """From a worker to the initiator or its server."""
    down: int
    """From the initiator or its server to a worker."""
    between: int
    """Straight from one worker to another."""


def traffic_of(plan: Plan) -> Traffic:
    """What the tensors of one step of `plan` come to.

    Args:
        plan: any plan that `validate_plan` accepts.
    """
    custody, up, down, between = Custody.of(plan.hosts), 0, 0, 0
    for lane in plan.lanes:
        for action in lane.actions:
            if not action.kind.is_send:
                continue
            passed_on = action.peer == SERVER
            receivers = custody.destinations(parcel_of(action)) if passed_on else (action.peer,)
            workers = sum(receiver != INITIATOR for receiver in receivers)
            if lane.host == INITIATOR:
                down += workers
            elif passed_on:
                up, down = up + 1, down + workers
            else:
                up, between = up + len(receivers) - workers, between + workers
    return Traffic(up, down, between)
