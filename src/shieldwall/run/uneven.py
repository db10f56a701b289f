"""Machines of different speed and memory: who is given how many layers, who is given nothing at first, and why.

    what each worker says of its machine -> stages dealt in turn -> the cut that leaves the busiest host least busy
                                         -> no host over its memory, or the worst of them becomes a spare, and again

The same claims give the same cut. It decides how long a step takes and no bit of it: docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import INITIATOR
from shieldwall.models.span import StageSpan, spans_of
from shieldwall.run.machines.claims import Claim
from shieldwall.run.memory import format_bytes
from shieldwall.run.planning import InFlight, Planner, RunPlan, balanced, deal
from shieldwall.schedule import Host

_ROUNDS = 4
"""How often a cut is made anew because its own plan keeps more micro-batches in flight than was reckoned with."""
_FEWEST_CHECKED = 2
"""Workers, where neighbouring middle stages have to be on two of them."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A plan for the machines that are there."""

    run_plan: RunPlan
    spares: tuple[str, ...]
    """Workers that hold nothing at first."""
    reasons: tuple[str, ...]
    """Why each worker was given what it was, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machinery:
    """What is known of the machines of a run.

    Args:
        workers: names of those who are to hold stages, in the order in which stages are dealt.
        bench: names of those who stand in for them, first come first served.
        claims: by worker; who has made none is taken to be as fast as the initiator and to have room for everything.
        own_bytes: what the initiator may take of memory.
    """

    workers: Sequence[str]
    bench: Sequence[str]
    claims: Mapping[str, Claim]
    own_bytes: int

    def room(self, hosts: Sequence[Host]) -> dict[str, int]:
        """What those of `hosts` may take of memory of whom it is known."""
        known = {name: claim.memory_bytes for name, claim in self.claims.items()} | {INITIATOR: self.own_bytes}
        return {host.name: known[host.name] for host in hosts if host.name in known}


def fit(planner: Planner, machinery: Machinery, cut: Sequence[int] | None = None) -> Fit:
    """Plan a run for the machines that are there.

    Args:
        planner: of the run.
        machinery: what is known of them.
        cut: the layers of each stage, where these are settled already; the balanced ones if not given.

    Raises:
        PlanError: SW-P202; some machine has too little memory, and there is nobody to do its part.
    """
    workers, bench, spares, reasons = list(machinery.workers), list(machinery.bench), list[str](), list[str]()
    while True:
        hosts = deal(planner.config, _speeds(planner, machinery, workers))
        run_plan = _place(planner, hosts, machinery.room(hosts), cut)
        short = shortages(run_plan.memory_bytes, machinery.room(hosts))
        if not short:
            reasons += _reasons(planner, run_plan, machinery.claims)
            return Fit(run_plan, (*bench, *spares), tuple(reasons))
        worst = max(short, key=lambda name: (name == INITIATOR, short[name]))
        need, have = run_plan.memory_bytes[worst], machinery.room(hosts)[worst]
        if worst == INITIATOR or not _can_spare_one(planner, workers, bench):
            raise _too_little(worst, need, have)
        place = workers.index(worst)
        workers[place : place + 1] = bench[:1]
        stead = f"{bench.pop(0)} stands in" if bench else "the others do its part"
        spares.append(worst)
        reasons.append(
            f"{worst} has {format_bytes(have)} of memory free and would need {format_bytes(need)}: a spare; {stead}"
        )


def shortages(needs: Mapping[str, int], room: Mapping[str, int]) -> dict[str, int]:
    """By how many bytes each host that has too little memory has too little."""
    return {name: need - room[name] for name, need in needs.items() if name in room and need > room[name]}


def least_bytes(planner: Planner, in_flight: InFlight) -> int:
    """What a worker needs of memory to be of any use: for the smallest layer, as a middle stage alone."""
    stages = planner.config.pipeline.stages
    costs = planner.costs.layers
    smallest = min(range(len(costs)), key=lambda layer: costs[layer].trained_bytes + costs[layer].frozen_bytes)
    spans = [StageSpan(stage, stages, smallest, smallest + 1) for stage in range(stages)]
    middle = [Host(str(stage), (stage,)) for stage in range(1, stages - 1)]
    return min(planner.host_bytes(middle, spans, in_flight).values(), default=0)


def _speeds(planner: Planner, machinery: Machinery, workers: Sequence[str]) -> dict[str, float]:
    """By host, the initiator first: as the configuration says, else as each claims."""
    given = planner.config.pipeline.speeds
    own = given[0] if given else 1.0
    configured = dict(zip(machinery.workers, given[1:], strict=False))
    claimed = {name: own * machinery.claims[name].speed for name in workers if name in machinery.claims}
    return {INITIATOR: own} | {name: configured.get(name, claimed.get(name, own)) for name in workers}


def _place(planner: Planner, hosts: Sequence[Host], room: Mapping[str, int], settled: Sequence[int] | None) -> RunPlan:
    """The plan with the settled cut, or with the best that keeps within `room`; the nearest to it where none does."""
    if settled is not None:
        return planner.plan(hosts, list(settled))
    in_flight = InFlight({}, {})
    cut = balanced(planner.unit_seconds, hosts)
    run_plan = planner.plan(hosts, cut)
    for _ in range(_ROUNDS):
        if not shortages(run_plan.memory_bytes, room):
            break
        in_flight = in_flight.or_more(InFlight.of(run_plan.plan))
        cut = balanced(planner.unit_seconds, hosts, _excess(planner, hosts, room, in_flight))
        run_plan = planner.plan(hosts, cut)
    return run_plan


def _excess(
    planner: Planner, hosts: Sequence[Host], room: Mapping[str, int], in_flight: InFlight
) -> Callable[[Sequence[int]], int]:
    """Bytes by which hosts are over their memory under a cut; each stage is reckoned once for each of its spans."""

    @cache
    def needs(span: StageSpan) -> tuple[int, int]:
        spans = [span] * span.stages
        alone = [Host("stage", (span.index,)), Host("duplicate", (), duplicates=(span.index,))]
        found = planner.host_bytes(alone, spans, in_flight)
        return found["stage"], found["duplicate"]

    def excess(cut: Sequence[int]) -> int:
        of_stage = [needs(span) for span in spans_of(cut)]
        total = 0
        for host in hosts:
            if host.name in room:
                need = sum(of_stage[stage][0] for stage in host.stages)
                need += sum(of_stage[stage][1] for stage in host.duplicates)
                total += max(0, need - room[host.name])
        return total

    return excess


def _can_spare_one(planner: Planner, workers: Sequence[str], bench: Sequence[str]) -> bool:
    """Whether the others can do without one: neighbouring stages that are checked need two workers."""
    config = planner.config
    fewest = _FEWEST_CHECKED if config.checks and config.pipeline.middle_stages > 1 else 1
    return bool(bench) or len(workers) > fewest


def _reasons(planner: Planner, run_plan: RunPlan, claims: Mapping[str, Claim]) -> list[str]:
    """A line for each worker of whom anything is known: what it says it can do, and what follows."""
    hosts, cut = run_plan.plan.hosts, run_plan.cut
    alike = [replace(host, speed=1.0) for host in hosts]
    by_speed, even = (balanced(planner.unit_seconds, each) for each in (hosts, alike))
    lines = []
    for host in hosts:
        if host.name == INITIATOR or host.name not in claims:
            continue
        own = next(each.speed for each in hosts if each.name == INITIATOR)
        layers, without, usual = (sum(each[stage] for stage in host.stages) for each in (cut, by_speed, even))
        line = (
            f"{host.name} is {host.speed / own:.2g} x the initiator, with"
            f" {format_bytes(claims[host.name].memory_bytes)} of memory free: {_layers(layers)}"
        )
        line += f" instead of {usual}" if layers != usual else ""
        line += f" (by speed alone {without}; not all machines have room for that)" if layers != without else ""
        lines.append(line)
    return lines


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _too_little(name: str, need: int, have: int) -> PlanError:
    return PlanError(
        "SW-P202",
        f"{name} has too little memory for its part, and nobody can do it in its place",
        where=name,
        expected=f"at least {format_bytes(need)} free, of any cut the nearest to what there is",
        got=f"{format_bytes(have)} free",
        state="nothing was trained; those who have joined look for the run for as long as their patience lasts",
        remedy="free memory there and start the run again with --resume; or start a new one with smaller"
        " pipeline.micro_batch_size, pipeline.micro_batches or data.block_tokens, more stages, or pipeline.spares",
    )
