"""Generated hosts, costs, plans, and single mistakes put into valid plans."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from shieldwall.schedule import (
    TOPOLOGIES,
    Action,
    Host,
    Kind,
    Lane,
    Plan,
    StageCosts,
    When,
    chain_custody,
    make_plan,
    usual_hosts,
)

# Laws do not depend on how fast the machine is that checks them.
settings.register_profile("schedule", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("schedule")

WHENS: tuple[When, ...] = ("before_use", "before_commit")
SECONDS = st.floats(min_value=0.0, max_value=10.0, allow_nan=False).map(lambda x: round(x, 3))


def own_hosts(stages: int) -> list[Host]:
    return [Host(f"host-{stage}", (stage,)) for stage in range(stages)]


@st.composite
def hosts_of(draw: st.DrawFn, stages: int) -> list[Host]:
    """Any assignment of the stages to hosts, fast and slow, some of which share a processor."""
    holders = draw(st.lists(st.integers(0, stages - 1), min_size=stages, max_size=stages))
    hosts = []
    for number in sorted(set(holders)):
        held = tuple(stage for stage, holder in enumerate(holders) if holder == number)
        speed = draw(st.sampled_from([0.5, 1.0, 3.0]))
        hosts.append(Host(f"host-{number}", held, speed, draw(st.sampled_from([None, "left", "right"]))))
    return hosts


@st.composite
def costs_of(draw: st.DrawFn, stages: int) -> StageCosts:
    times = st.lists(SECONDS, min_size=stages, max_size=stages).map(tuple)
    return StageCosts(draw(times), draw(times), draw(SECONDS))


@st.composite
def plans(draw: st.DrawFn, most: int = 6) -> tuple[Plan, StageCosts]:
    """A made plan and the costs that it was made with."""
    stages, micro_batches = draw(st.integers(1, most)), draw(st.integers(1, most))
    hosts, costs = draw(hosts_of(stages)), draw(costs_of(stages))
    schedule, topology = draw(st.sampled_from(["gpipe", "1f1b"])), draw(st.sampled_from(TOPOLOGIES))
    training = draw(st.booleans())
    return make_plan(schedule, stages, micro_batches, hosts, costs, training, topology=topology), costs


@st.composite
def checkers_of(draw: st.DrawFn, stages: int, hosts: list[Host]) -> list[Host]:
    """`hosts` with duplicates of most middle stages, each on another host, and sometimes one that only checks."""
    spare = Host("spare", (), draw(st.sampled_from([0.5, 1.0])))
    copied: dict[str, list[int]] = {host.name: [] for host in (*hosts, spare)}
    for stage in range(1, stages - 1):
        others = [host.name for host in (*hosts, spare) if stage not in host.stages]
        if draw(st.integers(0, 4)):
            copied[draw(st.sampled_from(others))].append(stage)
    checked = [replace(host, duplicates=tuple(copied[host.name])) for host in (*hosts, spare)]
    return [host for host in checked if host.stages or host.duplicates]


@st.composite
def checked_plans(draw: st.DrawFn, most: int = 5) -> tuple[Plan, StageCosts]:
    """A made plan with checks, sometimes of some micro-batches alone, and the costs that it was made with."""
    stages, micro_batches = draw(st.integers(3, max(3, most))), draw(st.integers(1, most))
    hosts = draw(st.one_of(hosts_of(stages), st.just(own_hosts(stages)), st.just(list(usual_hosts(stages)))))
    hosts = draw(st.one_of(checkers_of(stages, hosts), st.just(list(chain_custody(hosts)))))
    only = draw(st.one_of(st.none(), st.sets(st.integers(0, micro_batches - 1), min_size=1).map(sorted)))
    schedule, when = draw(st.sampled_from(["gpipe", "1f1b"])), draw(st.sampled_from(WHENS))
    costs, training, topology = draw(costs_of(stages)), draw(st.booleans()), draw(st.sampled_from(TOPOLOGIES))
    plan = make_plan(schedule, stages, micro_batches, hosts, costs, training, when=when, only=only, topology=topology)
    return plan, costs


@st.composite
def mutated(draw: st.DrawFn) -> Plan:
    """A valid plan after one or two changes, most of which break it."""
    plan, _ = draw(st.one_of(plans(most=4), checked_plans(most=4)))
    for _ in range(draw(st.integers(1, 2))):
        plan = draw(_changed(plan))
    return plan


@st.composite
def _changed(draw: st.DrawFn, plan: Plan) -> Plan:
    lanes = [list(lane.actions) for lane in plan.lanes]
    number = draw(st.sampled_from([n for n, lane in enumerate(lanes) if lane] or [0]))
    lane = lanes[number]
    if not lane:
        return plan
    at, other = draw(st.integers(0, len(lane) - 1)), draw(st.integers(0, len(lane) - 1))
    chosen = lane[at]
    change = draw(
        st.sampled_from(["delete", "duplicate", "retarget", "swap", "swap neighbours", "move", "late", "early"])
    )
    if change == "delete":
        del lane[at]
    elif change == "duplicate":
        lane.insert(other, lane[at])
    elif change == "retarget":
        lane[at] = draw(_retargeted(plan, lane[at]))
    elif change == "swap":
        lane[at], lane[other] = lane[other], lane[at]
    elif change == "swap neighbours":
        lane[at - 1], lane[at] = lane[at], lane[at - 1]
    elif change == "late":  # sent only at the end: whoever waits for it may never get there
        lane.sort(key=lambda action: action == chosen and action.kind.is_send)
    elif change == "early":  # received or awaited before anything else is done
        lane.sort(key=lambda action: action != chosen or action.kind.is_compute or action.kind.is_send)
    else:
        to = draw(st.sampled_from(lanes))
        to.insert(draw(st.integers(0, len(to))), lane.pop(at))
    return replace(plan, lanes=tuple(Lane(old.host, tuple(new)) for old, new in zip(plan.lanes, lanes, strict=True)))


@st.composite
def _retargeted(draw: st.DrawFn, plan: Plan, action: Action) -> Action:
    what = draw(st.sampled_from(["stage", "micro_batch", "kind", "peer"]))
    if what == "stage":
        return replace(action, stage=draw(st.integers(0, plan.stages)))
    if what == "micro_batch":
        return replace(action, micro_batch=draw(st.integers(0, plan.micro_batches)))
    if what == "peer" and action.peer:
        return replace(action, peer=draw(st.sampled_from([*(host.name for host in plan.hosts), "server", "stranger"])))
    kinds = [kind for kind in Kind if kind.is_compute == action.kind.is_compute]
    return replace(action, kind=draw(st.sampled_from(kinds)))
