"""Who holds what, view by view: duplicates beside stages, and who takes over when a host goes (design 4.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import INITIATOR
from shieldwall.schedule import Host


def with_duplicates(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """The same hosts, each with the duplicates that it is to hold: that of stage `i` at the host of stage `i + 1`.

    Stages of the initiator have no duplicate; it checks nobody against itself.

    Raises:
        PlanError: SW-P127; a worker would hold a stage and its duplicate.
    """
    holder = {stage: host.name for host in hosts for stage in host.stages}
    duplicates: dict[str, list[int]] = {host.name: [] for host in hosts}
    for stage in sorted(holder):
        if holder[stage] == INITIATOR:
            continue
        checker = holder[stage + 1]
        if checker == holder[stage]:
            raise _no_custody(stage, checker)
        duplicates[checker].append(stage)
    return tuple(replace(host, duplicates=tuple(duplicates[host.name])) for host in hosts)


def without(hosts: Sequence[Host], gone: str, successor: str) -> tuple[Host, ...]:
    """The hosts after `gone` has left: `successor`, a spare or the initiator, takes its stages and duplicates.

    What the initiator holds needs no duplicate, and a duplicate beside its own stage is let go of.
    """
    leaving = next(host for host in hosts if host.name == gone)
    there = next((host for host in hosts if host.name == successor), replace(leaving, name=successor, stages=()))
    taken = replace(
        there,
        stages=tuple(sorted({*there.stages, *leaving.stages})),
        duplicates=tuple(sorted({*there.duplicates, *leaving.duplicates})) if there.stages else leaving.duplicates,
    )
    rest = [taken if host.name == successor else host for host in hosts if host.name != gone]
    if taken not in rest:
        rest.append(taken)
    trusted = set(next(host for host in rest if host.name == INITIATOR).stages)
    return tuple(
        replace(host, duplicates=tuple(stage for stage in host.duplicates if stage not in trusted)) for host in rest
    )


def relieved(hosts: Sequence[Host], stages: Sequence[int], helper: str) -> tuple[Host, ...]:
    """The hosts once `helper`, who held nothing, has taken `stages` from the initiator, and duplicates follow.

    Raises:
        PlanError: SW-P127; a worker would hold a stage and its duplicate.
    """
    rest = [
        replace(host, stages=tuple(stage for stage in host.stages if stage not in stages), duplicates=())
        if host.name == INITIATOR
        else replace(host, duplicates=())
        for host in hosts
    ]
    initiator = next(host for host in rest if host.name == INITIATOR)
    return with_duplicates([*rest, replace(initiator, name=helper, stages=tuple(stages))])


def _no_custody(stage: int, host: str) -> PlanError:
    return PlanError(
        "SW-P127",
        f"{host} would check its own stage {stage}",
        expected="every stage and its duplicate on two different hosts",
        got=f"stages {stage} and {stage + 1} both on {host}, which would hold the duplicate of stage {stage} too",
        where="pipeline.workers",
        remedy='take more workers (at least 2, so that neighbours differ), fewer stages, or verify.policy = "none"',
    )
