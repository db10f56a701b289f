"""What is asked of a plan besides its shape and hosts: when checks are settled, the topology, the micro-batches."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.core.errors import PlanError
from shieldwall.schedule.plan import TOPOLOGIES, WHENS, Host


def check_when(when: object, hosts: Sequence[Host]) -> None:
    """Refuse duplicates for which nobody said when they must have settled their checks.

    Raises:
        PlanError: SW-P114.
    """
    if when in WHENS or (when is None and not any(host.duplicates for host in hosts)):
        return
    raise PlanError(
        "SW-P114",
        "it is not said when checks must be settled",
        expected=f"one of {', '.join(WHENS)}, or None where no host has duplicates",
        got=repr(when),
        remedy='give when="before_commit", which costs least',
    )


def check_topology(topology: object) -> None:
    """Refuse a topology that no lane is written for.

    Raises:
        PlanError: SW-P119.
    """
    if topology in TOPOLOGIES:
        return
    raise PlanError(
        "SW-P119",
        f"there is no topology {topology!r}",
        expected=f"one of {', '.join(TOPOLOGIES)}",
        got=repr(topology),
        remedy='set pipeline.topology = "chain"',
    )


def check_chosen(chosen: Sequence[int], micro_batches: int) -> None:
    """Refuse micro-batches that the step does not have, or in another order than that of the sums.

    Raises:
        PlanError: SW-P118.
    """
    if chosen and list(chosen) == sorted(set(chosen)) and chosen[0] >= 0 and chosen[-1] < micro_batches:
        return
    raise PlanError(
        "SW-P118",
        "the step has no such micro-batches",
        expected=f"at least one of 0 to {micro_batches - 1}, ascending, each once",
        got=", ".join(map(str, chosen)) or "none",
        remedy="leave `only` out to run them all",
    )
