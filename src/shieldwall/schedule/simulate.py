"""Predict a step: when each pass and each check runs, how long the step takes, how much of the time hosts wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shieldwall.schedule.costs import StageCosts, check_costs, equal_slots
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.hosts import check_shape
from shieldwall.schedule.make import make_plan
from shieldwall.schedule.plan import Host, Plan
from shieldwall.schedule.play import play
from shieldwall.schedule.timing import TimedAction, Timing
from shieldwall.schedule.validate import validate_plan


@dataclass(frozen=True, slots=True)
class Timeline:
    """When everything runs.

    Args:
        hosts: names, one for each lane, in the plan's order.
        work: every pass and every check, in the order in which they start.
    """

    hosts: tuple[str, ...]
    work: tuple[TimedAction, ...]

    @property
    def step_s(self) -> float:
        """Seconds from the start of the step to the end of its last pass or check."""
        return max((done.end_s for done in self.work), default=0.0)

    @property
    def idle_share(self) -> float:
        """Share of the step in which a host waits, over all lanes, in [0, 1]; 0 for a step that takes no time."""
        shares = self.idle_share_by_host
        return sum(shares.values()) / len(shares) if shares else 0.0

    @property
    def idle_share_by_host(self) -> dict[str, float]:
        """Share of the step in which each host waits, in [0, 1]."""
        busy_s = dict.fromkeys(self.hosts, 0.0)
        for done in self.work:
            busy_s[done.host] += done.end_s - done.start_s
        step_s = self.step_s
        return {host: max(0.0, 1 - seconds / step_s) if step_s else 0.0 for host, seconds in busy_s.items()}


def simulate(plan: Plan, costs: StageCosts) -> Timeline:
    """Play `plan` against a clock: lanes in their order, hosts at their speed, shared processors in turn.

    Args:
        plan: any plan that `validate_plan` accepts.
        costs: seconds of each stage on a host of speed 1, and of each transfer between two hosts.

    Raises:
        PlanError: SW-P109, costs of another pipeline; SW-P102 to SW-P126, the plan cannot be played.
    """
    validate_plan(plan)
    check_costs(costs, plan.stages)
    played = play(plan.lanes, Timing(Custody.of(plan.hosts), costs, plan.topology))
    return Timeline(tuple(lane.host for lane in plan.lanes), played.work)


def waiting_share(hosts: Sequence[Host], timeline: Timeline) -> float:
    """Share of the step in which processors wait, in [0, 1]; hosts that share one processor count once together.

    `Timeline.idle_share` counts hosts: where they take turns on one processor, each of them waits for the others.
    """
    processors = len({(host.processor is None, host.processor or host.name) for host in hosts})
    busy_s = sum(done.end_s - done.start_s for done in timeline.work)
    return max(0.0, 1 - busy_s / (processors * timeline.step_s)) if timeline.step_s else 0.0


def bubble(schedule: str, stages: int, micro_batches: int) -> float:
    """Idle share of a training step in equal slots, each stage on a host of its own.

    For "gpipe" and "1f1b" this is (K - 1) / (M + K - 1).

    Raises:
        PlanError: SW-P101, unknown schedule; SW-P102 and SW-P103, no stage or no micro-batch.
    """
    check_shape(stages, micro_batches)
    hosts = [Host(f"host-{stage}", (stage,)) for stage in range(stages)]
    return simulate(make_plan(schedule, stages, micro_batches, hosts), equal_slots(stages)).idle_share
