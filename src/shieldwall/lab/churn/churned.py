"""One run whose workers leave, are killed, come back and are replaced by strangers, one after the other.

Worker 1 stays from the beginning to the end; it and the initiator are looked at.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from shieldwall.lab.churn.samples import Sample, look
from shieldwall.lab.recovery.cluster import Cluster, cluster
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate

WORKERS = 4
STAYS = 1
_LOOK_S, _WAIT_S = 0.5, 0.02


class Change(StrEnum):
    """What becomes of a worker."""

    LEAVE = "leaves (SIGTERM) and comes back"
    KILL = "is killed (SIGKILL) and comes back"
    STRANGER = "leaves for good, and a stranger comes with a new key"


@dataclass(slots=True)
class Churned:
    """What became of the run."""

    code: int = -1
    """The initiator's exit code."""
    summary: dict[str, Any] = field(default_factory=dict)
    """`summary.json`; empty where there is none."""
    changes: list[Change] = field(default_factory=list)
    """Those that the run had made up for."""
    died: list[int | None] = field(default_factory=list)
    """Exit codes of workers that ended though nobody had ended them; each was started again."""
    samples: dict[str, list[Sample]] = field(default_factory=lambda: {"initiator": [], "worker that stays": []})
    said: str = ""


async def churn(
    folder: Path,
    settings: Sequence[str],
    every_s: float,
    on_step: Callable[[int], None] = lambda _: None,
    most: int | None = None,
) -> Churned:
    """Run it, with a change every so many seconds, or as fast as the run makes up for the one before.

    After so many changes as `most` says, if it says so, the run is left alone.
    """
    found = Churned()
    async with cluster(folder, settings) as run:
        await run.train()
        for worker in range(1, WORKERS + 1):
            await run.join(worker)
        looking = asyncio.create_task(_watch(run, found, on_step))
        try:
            await _change_all(run, found, every_s, most)
            found.code = await run.end()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        path = run.run / "summary.json"
        found.summary = json.loads(path.read_text()) if path.exists() else {}
        found.said = run.said
    return found


async def _change_all(run: Cluster, found: Churned, every_s: float, most: int | None) -> None:
    """One change after the other until the run is over; workers 2 to 4 take turns, and so do the kinds."""
    places, strangers = [2, 3, 4], WORKERS
    turn = 0
    while turn != most and await _mended(run, found, (STAYS, *places)):
        began_s, change = time.monotonic(), tuple(Change)[turn % len(Change)]
        place = turn % len(places)
        turn += 1
        gone = len(_taken(run))
        process = run.workers[places[place]]
        process.kill() if change is Change.KILL else process.terminate()
        if not await _until(run, lambda gone=gone: len(_taken(run)) > gone):  # type: ignore[misc]
            return
        while process.is_alive():
            await asyncio.sleep(_WAIT_S)
        if change is Change.STRANGER:
            strangers += 1
            places[place] = strangers
            await run.join(strangers, _invite(run))
        else:
            await run.join(places[place])
        if not await _mended(run, found, (STAYS, *places)):
            return
        found.changes.append(change)
        await _until(run, lambda began_s=began_s: time.monotonic() - began_s > every_s)  # type: ignore[misc]


async def _mended(run: Cluster, found: Churned, workers: Sequence[int]) -> bool:
    """Wait until everybody has work again; whether that comes before the run is over.

    A worker that has fallen, though nobody felled it, is started again, or the run would wait for it.
    """

    def fallen() -> list[int]:
        return [each for each in workers if run.workers[each].exitcode not in (None, 0)]

    while await _until(run, lambda: _is_whole(run) or bool(fallen())):
        ended = fallen()
        if not ended:
            return True
        for worker in ended:
            found.died.append(run.workers[worker].exitcode)
            await run.join(worker)
    return False


async def _watch(run: Cluster, found: Churned, on_step: Callable[[int], None]) -> None:
    """Look at both processes every half second."""
    while True:
        await asyncio.sleep(_LOOK_S)
        steps = _steps(run)
        on_step(steps)
        for who, process in (("initiator", run.training), ("worker that stays", run.workers.get(STAYS))):
            seen = look(process.pid, steps) if process and process.pid else None
            if seen and steps:
                found.samples[who].append(seen)


def _invite(run: Cluster) -> str:
    gate = Gate.load(run.run / "private")
    return gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now()).text()


async def _until(run: Cluster, condition: Callable[[], bool]) -> bool:
    """Look until it holds; whether it does before the run is over."""
    while not condition():
        if run.training is None or not run.training.is_alive():
            return False
        await asyncio.sleep(_WAIT_S)
    return True


def _is_whole(run: Cluster) -> bool:
    """Whether training has begun, and the initiator has given back everything that it had to take over."""
    return _steps(run) > 0 and len(_taken(run)) == run.said.count(" from the initiator")


def _taken(run: Cluster) -> list[str]:
    """What the run has said of those who went: the initiator takes over."""
    return [line for line in run.said.splitlines() if line.endswith("; initiator takes over what it held")]


def _steps(run: Cluster) -> int:
    metrics = run.run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0
