"""Is all work in the plan: each pass of each stage and micro-batch once, on the host of its stage, in order?"""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.hosts import hosts_by_stage
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.trouble import broken_plan

Spot = tuple[str, int]
"""Host and position in its lane, from 0."""


def spots(plan: Plan) -> Iterator[tuple[Spot, Action]]:
    """Every action of the plan and where it stands."""
    for lane in plan.lanes:
        for position, action in enumerate(lane.actions):
            yield (lane.host, position), action


def check_work(plan: Plan) -> None:
    """Refuse passes that are unknown, misplaced, double or absent.

    Raises:
        PlanError: SW-P121.
    """
    names = {stage: host.name for stage, host in hosts_by_stage(plan.hosts).items()}
    wanted = _wanted(plan)
    seen: dict[Action, Spot] = {}
    for spot, action in spots(plan):
        if not action.kind.is_compute:
            continue
        complaint = _complaint(plan, action, spot, names, seen)
        if complaint or action not in wanted:
            purpose = "training" if plan.training else "evaluation"
            shape = f"a pass of {plan.stages} stages and {plan.micro_batches} micro-batches in {purpose}"
            expected, got = complaint or (shape, f"{action}")
            raise broken_plan("SW-P121", f"{action} does not belong here", plan, spot, expected=expected, got=got)
        seen[action] = spot
    for action in wanted:
        if action not in seen:
            end = (names[action.stage], len(plan.lane_of(names[action.stage]).actions))
            raise broken_plan(
                "SW-P121", f"{action} is in no lane", plan, end, expected=f"{action} on {end[0]}", got="nothing"
            )


def _wanted(plan: Plan) -> dict[Action, None]:
    """All passes of the step; a dictionary keeps their order."""
    kinds = (Kind.FORWARD, Kind.BACKWARD) if plan.training else (Kind.FORWARD,)
    passes = (Action(k, i, m) for k in kinds for i in range(plan.stages) for m in range(plan.micro_batches))
    return dict.fromkeys(passes)


def _complaint(
    plan: Plan, action: Action, spot: Spot, names: dict[int, str], seen: dict[Action, Spot]
) -> tuple[str, str] | None:
    """(expected, got) of a pass on the wrong host or of one that was there before."""
    if action in seen:
        return f"{action} once", f"{action} at position {seen[action][1]} and again at {spot[1]}"
    if action.stage < plan.stages and names[action.stage] != spot[0]:
        return f"{action} on {names[action.stage]}, which holds stage {action.stage}", f"{action} on {spot[0]}"
    return None


def check_order(plan: Plan) -> None:
    """Refuse a backward pass before its forward pass, and backward passes of a stage out of micro-batch order.

    Raises:
        PlanError: SW-P122.
    """
    forwards: set[tuple[int, int]] = set()
    backwards = dict.fromkeys(range(plan.stages), 0)
    for spot, action in spots(plan):
        if action.kind is Kind.FORWARD:
            forwards.add((action.stage, action.micro_batch))
        if action.kind is not Kind.BACKWARD:
            continue
        if (action.stage, action.micro_batch) not in forwards:
            text = f"F{action.stage}.{action.micro_batch}"
            raise broken_plan(
                "SW-P122",
                f"{action} runs before {text}",
                plan,
                spot,
                expected=f"{text} first",
                got=f"{action} with no {text} before it",
            )
        if action.micro_batch != backwards[action.stage]:
            raise broken_plan(
                "SW-P122",
                f"stage {action.stage} runs backward out of micro-batch order",
                plan,
                spot,
                expected=f"B{action.stage}.{backwards[action.stage]}, because gradients are summed in this order",
                got=f"{action}",
            )
        backwards[action.stage] += 1
