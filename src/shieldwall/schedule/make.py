"""Make a plan: the schedule orders each stage, the clock merges what a host computes, neighbours get their tensors.

    order of each stage  ->  merge stages and duplicates of a host (`arrange`)  ->  one lane for each host (`wire`)

Merging is a simulation: every stage plays its own lane, and the stages of a host contend for its processor. The
order in which their computations start is the host's lane, so no lane can wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shieldwall.core.errors import PlanError
from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.arrange import Order, merge, place_passes
from shieldwall.schedule.costs import StageCosts, check_costs, equal_slots
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.hosts import check_hosts, check_shape
from shieldwall.schedule.plan import Host, Plan, Topology, When
from shieldwall.schedule.play import Played
from shieldwall.schedule.policies import SCHEDULES
from shieldwall.schedule.timing import Timing
from shieldwall.schedule.wishes import check_chosen, check_topology, check_when

_Policy = Callable[[int, int, int], Order]


def make_plan(
    schedule: str,
    stages: int,
    micro_batches: int,
    hosts: Sequence[Host],
    costs: StageCosts | None = None,
    training: bool = True,
    *,
    when: When | None = None,
    only: Sequence[int] | None = None,
    topology: Topology = "chain",
) -> Plan:
    """One lane of actions for each host, for one step.

    Args:
        schedule: a name in `SCHEDULES`.
        stages: K, at least 1.
        micro_batches: M of the step, at least 1.
        hosts: every stage from 0 to K-1 on exactly one of them, and the duplicates of middle stages on others; the
            lanes come in this order.
        costs: seconds of each stage, which decide how the stages of a host are merged; equal slots if None.
        training: False leaves out everything backward.
        when: checks must be settled. "before_commit": checks are placed where they cost least, and nothing waits for
            them. "before_use": every host waits until a tensor is settled before it computes on it. Only plans
            without duplicates can do with None.
        only: the micro-batches to run, ascending; the actions carry these numbers. All if None.
        topology: "chain": hosts send to each other. "star": every tensor that travels passes the initiator's server.

    Returns:
        A plan that `validate_plan` accepts.

    Raises:
        PlanError: SW-P101, unknown schedule; SW-P102 and SW-P103, no stage or no micro-batch; SW-P104 to SW-P108,
            hosts that cannot hold the stages; SW-P109, costs of another pipeline; SW-P113, a broken schedule; SW-P114,
            duplicates and no `when`; SW-P115 to SW-P117, duplicates that check nothing; SW-P118, micro-batches that
            the step does not have; SW-P119, unknown topology.

    Cost: no model, no tensor; about 2*K*M computations are placed, each in time proportional to K. With duplicates up
        to 4*K*M computations, and that about 60 times.
    """
    policy = _policy(schedule)
    check_shape(stages, micro_batches)
    check_hosts(stages, hosts)
    check_when(when, hosts)
    check_topology(topology)
    chosen = tuple(range(micro_batches)) if only is None else tuple(only)
    check_chosen(chosen, micro_batches)
    prices = equal_slots(stages) if costs is None else costs
    check_costs(prices, stages)
    orders = [_order(schedule, policy, stage, stages, chosen) for stage in range(stages)]
    if not training:
        orders = [tuple(action for action in order if action.kind is Kind.FORWARD) for order in orders]
    timing = Timing(Custody.of(hosts), prices, topology)
    passes = place_passes(orders, timing)
    _check_end(schedule, passes)
    lanes = merge(orders, passes, hosts, timing, settled=when == "before_use")
    part = None if len(chosen) == micro_batches else chosen
    return Plan(schedule, stages, micro_batches, training, tuple(hosts), lanes, when, part, topology)


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


def _order(schedule: str, policy: _Policy, stage: int, stages: int, chosen: Sequence[int]) -> Order:
    """What `stage` computes, with the numbers of the chosen micro-batches; the schedule sees a step of just these."""
    order = policy(stage, stages, len(chosen))
    every = {Action(kind, stage, m) for kind in (Kind.FORWARD, Kind.BACKWARD) for m in range(len(chosen))}
    backwards = [action.micro_batch for action in order if action.kind is Kind.BACKWARD]
    if len(order) != len(every) or set(order) != every or backwards != sorted(backwards):
        raise _broken(
            schedule,
            f"each forward and backward pass of stage {stage} once, backward in micro-batch order",
            " ".join(map(str, order)) or "nothing",
        )
    return tuple(Action(action.kind, stage, chosen[action.micro_batch]) for action in order)


def _check_end(schedule: str, passes: Played) -> None:
    if passes.stuck:
        waiting = ", ".join(str(stage) for stage in passes.stuck)
        raise _broken(schedule, "orders that come to their end", f"stages {waiting} wait for each other")


def _broken(schedule: str, expected: str, got: str) -> PlanError:
    return PlanError(
        "SW-P113",
        f"the schedule {schedule!r} cannot be played",
        expected=expected,
        got=got,
        remedy="mend the schedule's order(stage, stages, micro_batches), or use gpipe",
    )
