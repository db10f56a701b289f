"""The initiator's draw of who holds what, and `custody.json`, in which it is written down.

A run over machines draws before it gives out its stages, so that it is not the order of joining that makes neighbours,
and again every `verify.redraw_steps` steps. A run that is resumed begins with what was drawn last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from shieldwall.core.files import write_whole
from shieldwall.core.ids import INITIATOR
from shieldwall.dashboard.recorded import garbled, read_json
from shieldwall.recovery.custody import Swap, draw_swaps, exchanged
from shieldwall.schedule import Host


class Custody:
    """One run's draws.

    Args:
        path: of `custody.json`; nothing is written where it is None.
        random: draws; the operating system's if not given, which nobody foresees who knows the run's seed.
    """

    def __init__(self, path: Path | None, random: Random | None = None) -> None:
        self._path = path
        self._random = random or SystemRandom()

    def first(self, hosts: Sequence[Host], spares: Sequence[str]) -> tuple[tuple[Host, ...], list[str]]:
        """Who holds what at the start of the run or of its resumption, and who is a spare.

        Raises:
            RunFolderError: SW-R107; `custody.json` is not what a run writes.
            StorageError: SW-S101; it cannot be written.
        """
        if self._path and self._path.exists():
            return _as_before(hosts, spares, _read(self._path))
        drawn, rest = tuple(hosts), list(spares)
        for swap in self.draw(hosts, spares):
            drawn, rest = exchanged(drawn, rest, swap)
        self.note(0, drawn)
        return drawn, rest

    def draw(self, hosts: Sequence[Host], spares: Sequence[str]) -> list[Swap]:
        """Who is to change places with whom, one pair after the other."""
        return draw_swaps(hosts, spares, self._random)

    def note(self, step: int, hosts: Sequence[Host]) -> None:
        """Write down who holds what from `step` on.

        Raises:
            StorageError: SW-S101; what was written before stands.
        """
        if self._path:
            found = {"step": step, "holders": {str(stage): name for stage, name in _holders(hosts).items()}}
            write_whole(self._path, (json.dumps(found, indent=2) + "\n").encode())


def describe(hosts: Sequence[Host]) -> str:
    """Who holds what, in words."""
    return ", ".join(f"stage {stage} {name}" for stage, name in sorted(_holders(hosts).items()))


def _holders(hosts: Sequence[Host]) -> dict[int, str]:
    """Who holds each stage that a worker holds."""
    return {stage: host.name for host in hosts if host.name != INITIATOR for stage in host.stages}


def _as_before(
    hosts: Sequence[Host], spares: Sequence[str], holders: Mapping[int, str]
) -> tuple[tuple[Host, ...], list[str]]:
    """What was drawn before: each place to who held its first stage then; who had none then takes what is left."""
    places = [host for host in hosts if host.name != INITIATOR and host.stages]
    taken: dict[str, str] = {}
    for host in places:
        before = holders.get(host.stages[0])
        if before is not None and before not in taken.values():
            taken[host.name] = before
    names = [*(host.name for host in places), *spares]
    left = [name for name in names if name not in taken.values()]
    for host in places:
        if host.name not in taken:
            taken[host.name] = left.pop(0)
    return tuple(replace(host, name=taken.get(host.name, host.name)) for host in hosts), left


def _read(path: Path) -> dict[int, str]:
    """Who held each stage, as `custody.json` has it.

    Raises:
        RunFolderError: SW-R107.
    """
    holders: Any = read_json(path).get("holders")
    if not isinstance(holders, dict) or not all(
        stage.isdecimal() and isinstance(name, str) and name != INITIATOR for stage, name in holders.items()
    ):
        raise garbled(path, f"holders: {holders!r}", "the name of the worker that holds each stage")
    return {int(stage): name for stage, name in holders.items()}
