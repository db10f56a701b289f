"""Who may hold what: the checks that a request for a plan must pass, and the usual assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import COORDINATOR, INITIATOR, SERVER, worker_name
from shieldwall.schedule.plan import Host


def usual_hosts(stages: int) -> tuple[Host, ...]:
    """The initiator with the first and the last stage, and a worker for each stage between them."""
    ends = tuple(sorted({0, stages - 1}))
    workers = (Host(worker_name(stage - 1), (stage,)) for stage in range(1, stages - 1))
    return (Host(INITIATOR, ends), *workers)


def chain_custody(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """`hosts` with a duplicate of each middle stage on the host of the next stage that is on another host.

    With neighbouring stages on different hosts that is the paper's duplicated block: the host of stage i+1 checks
    stage i. A stage that no other host follows gets no duplicate.

    Args:
        hosts: every stage on exactly one of them.

    Source: duplicated blocks, Lu et al., ICML 2024 (arXiv 2312.00843).
    """
    holders = [name for _, name in sorted((stage, host.name) for host in hosts for stage in host.stages)]
    copied: dict[str, list[int]] = {host.name: [] for host in hosts}
    for stage, holder in enumerate(holders[:-1]):
        followers = [name for name in holders[stage + 1 :] if name != holder]
        if stage > 0 and followers:
            copied[followers[0]].append(stage)
    return tuple(replace(host, duplicates=tuple(copied[host.name])) for host in hosts)


def check_shape(stages: int, micro_batches: int) -> None:
    """Refuse a pipeline without stages or without work.

    Raises:
        PlanError: SW-P102, fewer than one stage; SW-P103, fewer than one micro-batch.
    """
    if stages < 1:
        raise _refuse(
            "SW-P102",
            "a pipeline needs at least one stage",
            "pipeline.stages of 1 or more",
            f"{stages}",
            "set pipeline.stages = 6",
        )
    if micro_batches < 1:
        raise _refuse(
            "SW-P103",
            "a step needs at least one micro-batch",
            "pipeline.micro_batches of 1 or more",
            f"{micro_batches}",
            "set pipeline.micro_batches = 4",
        )


def check_hosts(stages: int, hosts: Sequence[Host]) -> None:
    """Refuse hosts that cannot hold the stages 0 to `stages` - 1, each on exactly one of them, or their duplicates.

    Raises:
        PlanError: SW-P104, a stage on no host or on several; SW-P105, a host without stages and duplicates; SW-P106,
            a stage that does not exist; SW-P107, a speed that is not above 0; SW-P108, a name that is empty, used
            twice or one of the initiator's own; SW-P115 to SW-P117, duplicates that check nothing.
    """
    _check_names(hosts)
    for host in hosts:
        _check_host(host, stages)
    for stage in range(stages):
        _check_holders(stage, [host.name for host in hosts for held in host.stages if held == stage])
    for host in hosts:
        for stage in host.duplicates:
            _check_duplicate(host, stage, stages, hosts)


def _check_names(hosts: Sequence[Host]) -> None:
    names = [host.name for host in hosts]
    for name in names:
        if not name or not name.isprintable() or names.count(name) > 1 or name in (COORDINATOR, SERVER):
            raise _refuse(
                "SW-P108",
                f"{name!r} cannot be the name of a host here",
                f"printable names, each used once, and neither {COORDINATOR} nor {SERVER}",
                ", ".join(repr(each) for each in names),
                "give each host a name of its own",
            )


def _check_host(host: Host, stages: int) -> None:
    if not host.stages and not host.duplicates:
        raise _refuse(
            "SW-P105",
            f"host {host.name} holds no stage",
            "at least one stage or duplicate on every host",
            f"{host.name} with none",
            f"give {host.name} a stage, or leave it out of the plan",
        )
    for stage in host.stages:
        if not 0 <= stage < stages:
            raise _refuse(
                "SW-P106",
                f"host {host.name} holds a stage that does not exist",
                f"stages from 0 to {stages - 1}",
                f"stage {stage} on {host.name}",
                "stages count from 0; raise the number of stages or take this one from the host",
            )
    if not (isfinite(host.speed) and host.speed > 0):
        raise _refuse(
            "SW-P107",
            f"host {host.name} has no usable speed",
            "a finite speed above 0; 1 is the host that the costs were measured on",
            f"{host.speed}",
            f'set Host("{host.name}", ..., speed=1.0)',
        )


def _check_holders(stage: int, holders: list[str]) -> None:
    if len(holders) != 1:
        raise _refuse(
            "SW-P104",
            f"stage {stage} is {'held more than once' if holders else 'on no host'}",
            "every stage on exactly one host",
            f"stage {stage} on {', '.join(holders) or 'none'}",
            f"list stage {stage} in the stages of one host only",
        )


def _check_duplicate(host: Host, stage: int, stages: int, hosts: Sequence[Host]) -> None:
    if not 0 < stage < stages - 1:
        raise _refuse(
            "SW-P115",
            f"stage {stage} cannot have a duplicate",
            f"duplicates of middle stages, 1 to {stages - 2}" if stages > 2 else "no duplicate",
            f"a duplicate of stage {stage} on {host.name}",
            "only middle stages have duplicates; both ends need the initiator's data",
        )
    checkers = [each.name for each in hosts for copied in each.duplicates if copied == stage]
    if len(checkers) > 1:
        raise _refuse(
            "SW-P116",
            f"stage {stage} has more than one duplicate",
            "at most one duplicate of a stage",
            f"duplicates of stage {stage} on {', '.join(checkers)}",
            f"list stage {stage} in the duplicates of one host only",
        )
    if stage in host.stages:
        raise _refuse(
            "SW-P117",
            f"host {host.name} would check its own work",
            f"stage {stage} and its duplicate on two hosts",
            f"both on {host.name}",
            f"move the duplicate of stage {stage} to another host, such as that of stage {stage + 1}",
        )


def _refuse(code: str, summary: str, expected: str, got: str, remedy: str) -> PlanError:
    return PlanError(code, summary, expected=expected, got=got, remedy=remedy)
