"""Make a plan: the schedule orders each stage, the clock merges the stages of a host, neighbours get their tensors.

    order of each stage  ->  play the stages, those of one host on one processor  ->  one lane for each host

Merging is a simulation: every stage plays its own lane, and the stages of a host contend for its processor. The
order in which their computations start is the host's lane, so no lane can wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from shieldwall.core.errors import PlanError
from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.costs import StageCosts, check_costs, equal_slots
from shieldwall.schedule.flow import made_by, needed_by
from shieldwall.schedule.hosts import check_hosts, check_shape, hosts_by_stage
from shieldwall.schedule.plan import Host, Lane, Plan
from shieldwall.schedule.play import Timing, play
from shieldwall.schedule.policies import SCHEDULES

_Order = tuple[Action, ...]
_Policy = Callable[[int, int, int], _Order]


def make_plan(
    schedule: str,
    stages: int,
    micro_batches: int,
    hosts: Sequence[Host],
    costs: StageCosts | None = None,
    training: bool = True,
) -> Plan:
    """One lane of actions for each host, for one step.

    Args:
        schedule: a name in `SCHEDULES`.
        stages: K, at least 1.
        micro_batches: M, at least 1.
        hosts: every stage from 0 to K-1 on exactly one of them; the lanes come in this order.
        costs: seconds of each stage, which decide how the stages of a host are merged; equal slots if None.
        training: False leaves out everything backward.

    Returns:
        A plan that `validate_plan` accepts.

    Raises:
        PlanError: SW-P101, unknown schedule; SW-P102 and SW-P103, no stage or no micro-batch; SW-P104 to SW-P108,
            hosts that cannot hold the stages; SW-P109, costs of another pipeline; SW-P113, a broken schedule.

    Cost: no model, no tensor; about 2*K*M computations are placed, each in time proportional to K.
    """
    policy = _policy(schedule)
    check_shape(stages, micro_batches)
    check_hosts(stages, hosts)
    prices = equal_slots(stages) if costs is None else costs
    check_costs(prices, stages)
    orders = [_order(schedule, policy, stage, stages, micro_batches) for stage in range(stages)]
    if not training:
        orders = [tuple(action for action in order if action.kind is Kind.FORWARD) for order in orders]
    timing = Timing(hosts_by_stage(hosts), prices)
    names = {stage: host.name for stage, host in timing.hosts.items()}
    merged = _merge(schedule, orders, timing)
    lanes = tuple(Lane(host.name, _wire(merged[host.name], names)) for host in hosts)
    return Plan(schedule, stages, micro_batches, training, tuple(hosts), lanes)


def _policy(schedule: str) -> _Policy:
    if schedule not in SCHEDULES:
        raise PlanError(
            "SW-P101",
            f"there is no schedule {schedule!r}",
            expected=f"one of {', '.join(SCHEDULES)}",
            got=repr(schedule),
            remedy='set pipeline.schedule = "gpipe"',
        )
    policy: _Policy = SCHEDULES[schedule]
    return policy


def _order(schedule: str, policy: _Policy, stage: int, stages: int, micro_batches: int) -> _Order:
    order = policy(stage, stages, micro_batches)
    every = {Action(kind, stage, m) for kind in (Kind.FORWARD, Kind.BACKWARD) for m in range(micro_batches)}
    backwards = [action.micro_batch for action in order if action.kind is Kind.BACKWARD]
    if len(order) != len(every) or set(order) != every or backwards != sorted(backwards):
        raise _broken(
            schedule,
            f"each forward and backward pass of stage {stage} once, backward in micro-batch order",
            " ".join(map(str, order)) or "nothing",
        )
    return order


def _merge(schedule: str, orders: Sequence[_Order], timing: Timing) -> dict[str, _Order]:
    """The computations of each host, in the order in which they start when every stage plays for itself."""
    alone = {stage: f"stage {stage}" for stage in range(len(orders))}
    played = play([_wire(order, alone) for order in orders], timing)
    if played.stuck:
        waiting = ", ".join(str(stage) for stage in played.stuck)
        raise _broken(schedule, "orders that come to their end", f"stages {waiting} wait for each other")
    merged: dict[str, list[Action]] = {host.name: [] for host in timing.hosts.values()}
    for done in played.work:
        merged[done.host].append(Action(done.kind, done.stage, done.micro_batch))
    return {host: tuple(actions) for host, actions in merged.items()}


def _wire(computes: Iterable[Action], hosts: Mapping[int, str]) -> _Order:
    """Put each receive directly before the computation that uses it, each send directly after the one that made it."""
    actions: list[Action] = []
    for compute in computes:
        here = hosts[compute.stage]
        needed, made = needed_by(compute, len(hosts)), made_by(compute, len(hosts))
        if needed and hosts[needed.stage] != here:
            actions.append(needed.receive(hosts[needed.stage]))
        actions.append(compute)
        if made and hosts[made.consumer] != here:
            actions.append(made.send(hosts[made.consumer]))
    return tuple(actions)


def _broken(schedule: str, expected: str, got: str) -> PlanError:
    return PlanError(
        "SW-P113",
        f"the schedule {schedule!r} cannot be played",
        expected=expected,
        got=got,
        remedy="mend the schedule's order(stage, stages, micro_batches), or use gpipe",
    )
