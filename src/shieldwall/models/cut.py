"""Cutting a model so that the busiest host is as little busy as possible.

Which layers a stage gets decides how long a step takes and nothing else: the bits are the same for every cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from shieldwall.models.span import check_cut, even_cut

_EXHAUSTIVE_CUTS = 20_000
"""Up to this many cuts are all tried; beyond it borders are moved one layer at a time until nothing improves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSeconds:
    """Time of one micro-batch, forward and backward together, in each unit of a model on a host of speed 1."""

    embeddings: float
    layers: tuple[float, ...]
    head: float


def balance_cut(
    seconds: UnitSeconds,
    host_of_stage: Sequence[str],
    speed_of_host: dict[str, float],
    checker_of_stage: Mapping[int, str] | None = None,
    *,
    excess: Callable[[Sequence[int]], int] | None = None,
) -> list[int]:
    """Layers of each stage such that the longest time that any host needs is least.

    The embeddings go with the first stage and the head with the last; a host's time is that of all its stages divided
    by its speed. Among equal cuts the one whose second-busiest host is less busy is taken, and so on.

    Args:
        seconds: measured time of each unit.
        host_of_stage: for each stage the name of its host.
        speed_of_host: relative speed of each host, above 0.
        checker_of_stage: the host of each duplicate, by stage; checking costs it what the stage costs.
        excess: bytes by which a cut is more than the hosts' memories hold. The less of that the better, before all
            else: the result has none if any cut has none, where all cuts can be tried.

    Returns:
        Number of layers of each stage, at least 1 each.

    Raises:
        ModelError: SW-M110; more stages than layers.
    """
    layers, stages = len(seconds.layers), len(host_of_stage)
    check_cut(even_cut(layers, stages) if stages <= layers else [], layers=layers, stages=stages)

    def loads(cut: Sequence[int]) -> list[float]:
        over = [float(excess(cut))] if excess else []
        return [*over, *_host_loads(cut, seconds, host_of_stage, speed_of_host, checker_of_stage or {})]

    if _number_of_cuts(layers, stages) <= _EXHAUSTIVE_CUTS:
        return min(_all_cuts(layers, stages), key=loads)
    return _improve(even_cut(layers, stages), loads)


def _host_loads(
    cut: Sequence[int],
    seconds: UnitSeconds,
    host_of_stage: Sequence[str],
    speed_of_host: dict[str, float],
    checker_of_stage: Mapping[int, str],
) -> list[float]:
    """Time of each host, the busiest first."""
    load = dict.fromkeys((*host_of_stage, *checker_of_stage.values()), 0.0)
    first = 0
    for stage, (size, host) in enumerate(zip(cut, host_of_stage, strict=True)):
        busy_s = sum(seconds.layers[first : first + size])
        load[host] += busy_s
        if stage in checker_of_stage:
            load[checker_of_stage[stage]] += busy_s
        first += size
    load[host_of_stage[0]] += seconds.embeddings
    load[host_of_stage[-1]] += seconds.head
    return sorted((busy / speed_of_host[host] for host, busy in load.items()), reverse=True)


def _number_of_cuts(layers: int, stages: int) -> int:
    count = 1
    for index in range(stages - 1):
        count = count * (layers - 1 - index) // (index + 1)
    return count


def _all_cuts(layers: int, stages: int) -> list[list[int]]:
    cuts = []
    for borders in combinations(range(1, layers), stages - 1):
        edges = (0, *borders, layers)
        cuts.append([edges[index + 1] - edges[index] for index in range(stages)])
    return cuts


def _improve(cut: list[int], loads: Callable[[Sequence[int]], list[float]]) -> list[int]:
    best = loads(cut)
    improved = True
    while improved:
        improved = False
        for giver in range(len(cut)):
            for taker in range(len(cut)):
                if giver == taker or cut[giver] == 1:
                    continue
                trial = list(cut)
                trial[giver] -= 1
                trial[taker] += 1
                if (load := loads(trial)) < best:
                    cut, best, improved = trial, load, True
    return cut
