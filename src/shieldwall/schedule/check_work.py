"""Is all work in the plan: each pass and each check of each stage and micro-batch once, on its host, in order?"""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.custody import Custody
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
    """Refuse passes and checks that are unknown, misplaced, double or absent.

    Raises:
        PlanError: SW-P121.
    """
    custody = Custody.of(plan.hosts)
    wanted = _wanted(plan, custody)
    seen: dict[Action, Spot] = {}
    for spot, action in spots(plan):
        if not action.kind.is_compute:
            continue
        complaint = _complaint(action, spot, custody, seen)
        if complaint or action not in wanted:
            expected, got = complaint or (_shape(plan, action), f"{action}")
            raise broken_plan("SW-P121", f"{action} does not belong here", plan, spot, expected=expected, got=got)
        seen[action] = spot
    for action in wanted:
        if action not in seen:
            host = custody.host_of(action).name
            end = (host, len(plan.lane_of(host).actions))
            raise broken_plan(
                "SW-P121", f"{action} is in no lane", plan, end, expected=f"{action} on {end[0]}", got="nothing"
            )


def _wanted(plan: Plan, custody: Custody) -> dict[Action, None]:
    """All passes and checks of the step; a dictionary keeps their order."""
    passes = [Kind.FORWARD, Kind.BACKWARD] if plan.training else [Kind.FORWARD]
    checks = [Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD] if plan.training else [Kind.CHECK_FORWARD]
    wanted = [Action(kind, i, m) for kind in passes for i in range(plan.stages) for m in plan.chosen]
    wanted += [Action(kind, i, m) for kind in checks for i in sorted(custody.checkers) for m in plan.chosen]
    return dict.fromkeys(wanted)


def _shape(plan: Plan, action: Action) -> str:
    """What `action` could have been, where the step has no such pass."""
    purpose = "training" if plan.training else "evaluation"
    if action.kind.is_check and plan.checker_of(action.stage) is None:
        return f"no check of stage {action.stage}, which has no duplicate"
    some = "" if plan.only is None else f" (only {', '.join(map(str, plan.only))})"
    what = "check" if action.kind.is_check else "pass"
    return f"a {what} of {plan.stages} stages and {plan.micro_batches} micro-batches{some} in {purpose}"


def _complaint(action: Action, spot: Spot, custody: Custody, seen: dict[Action, Spot]) -> tuple[str, str] | None:
    """(expected, got) of a pass or check on the wrong host or of one that was there before."""
    if action in seen:
        return f"{action} once", f"{action} at position {seen[action][1]} and again at {spot[1]}"
    right = (custody.checkers if action.kind.is_check else custody.holders).get(action.stage)
    if right and right.name != spot[0]:
        held = f"the duplicate of stage {action.stage}" if action.kind.is_check else f"stage {action.stage}"
        return f"{action} on {right.name}, which holds {held}", f"{action} on {spot[0]}"
    return None


def check_order(plan: Plan) -> None:
    """Refuse backward before forward of a stage or duplicate, and backward out of micro-batch order.

    Raises:
        PlanError: SW-P122.
    """
    for forward, backward in ((Kind.FORWARD, Kind.BACKWARD), (Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD)):
        _check_order(plan, forward, backward)


def _check_order(plan: Plan, forward: Kind, backward: Kind) -> None:
    forwards: set[Action] = set()
    backwards = dict.fromkeys(range(plan.stages), 0)
    for spot, action in spots(plan):
        if action.kind is forward:
            forwards.add(action)
        if action.kind is not backward:
            continue
        first = Action(forward, action.stage, action.micro_batch)
        if first not in forwards:
            raise broken_plan(
                "SW-P122",
                f"{action} runs before {first}",
                plan,
                spot,
                expected=f"{first} first",
                got=f"{action} with no {first} before it",
            )
        due = Action(backward, action.stage, plan.chosen[backwards[action.stage]])
        if action != due:
            whose = "the duplicate of stage" if action.kind.is_check else "stage"
            raise broken_plan(
                "SW-P122",
                f"{whose} {action.stage} runs backward out of micro-batch order",
                plan,
                spot,
                expected=f"{due}, because gradients are summed in this order",
                got=f"{action}",
            )
        backwards[action.stage] += 1
