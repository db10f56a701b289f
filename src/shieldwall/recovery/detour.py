"""Around the suspects: who holds what in a step that is run again without some hosts, the paper's skip layer.

A stage of a host that is left out is bypassed: activations and gradients pass it as they are, which is played by the
initiator with a stage that has no layers. Slots, headers and joins stay what they are. A stage learns only where its
host and its duplicate's host both take part; otherwise neither copy does, so that both stay equal. Whose checker is
left out is checked by the initiator meanwhile (design 4.10).

Source: skip layer, Lu et al. (arXiv 2312.00843), section 6.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from shieldwall.core.ids import INITIATOR
from shieldwall.schedule import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """Who holds what meanwhile."""

    hosts: tuple[Host, ...]
    bypassed: tuple[int, ...]
    """Stages that are left out."""
    still: tuple[int, ...]
    """Stages that keep their state, bypassed or not."""
    lent: tuple[int, ...]
    """Stages that the initiator checks for a host that is left out."""


def suspects(hosts: Sequence[Host], stage: int, topology: str) -> frozenset[str]:
    """Whom an alert about `stage` leaves suspect where nobody judges: its host, its checker's, and in a chain the host
    that feeds both. In a star everybody is fed by the initiator. The initiator is never suspect.

    Args:
        hosts: who holds what.
        stage: whose tensor, gradients or state was not what its checker says.
        topology: `chain` or `star`.
    """
    holder = {held: host.name for host in hosts for held in host.stages}
    found = {holder[stage]} | {host.name for host in hosts if stage in host.duplicates}
    if topology == "chain" and stage > 0:
        found.add(holder[stage - 1])
    return frozenset(found - {INITIATOR})


def detour(hosts: Sequence[Host], left_out: Collection[str]) -> Detour:
    """The hosts without those that are left out.

    Args:
        hosts: who holds what, the initiator among them.
        left_out: names of workers; others than those in `hosts` change nothing.
    """
    out = set(left_out) - {INITIATOR}
    checker = {stage: host.name for host in hosts for stage in host.duplicates}
    bypassed = {stage for host in hosts if host.name in out for stage in host.stages}
    lent = {stage for stage, name in checker.items() if name in out and stage not in bypassed}
    there = (_without(host, bypassed, lent) for host in hosts if host.name not in out)
    return Detour(
        hosts=tuple(host for host in there if host.stages or host.duplicates),
        bypassed=tuple(sorted(bypassed)),
        still=tuple(sorted(bypassed | lent)),
        lent=tuple(sorted(lent)),
    )


def _without(host: Host, bypassed: set[int], lent: set[int]) -> Host:
    """What a host that takes part holds meanwhile."""
    duplicates = {*host.duplicates} - bypassed
    if host.name != INITIATOR:
        return replace(host, duplicates=tuple(sorted(duplicates)))
    return replace(host, stages=tuple(sorted({*host.stages} | bypassed)), duplicates=tuple(sorted(duplicates | lent)))
