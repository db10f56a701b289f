"""One run that faults befall, one after the other, each once everybody has work again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shieldwall.core.lines import read_lines
from shieldwall.lab.recovery import trap
from shieldwall.lab.recovery.cluster import Cluster, cluster
from shieldwall.lab.recovery.faults import CUTS, Fault, How, Moment

WORKERS = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a disturbed run."""

    code: int
    """The initiator's exit code."""
    summary: dict[str, Any]
    """`summary.json`; empty where there is none."""
    rows: tuple[dict[str, Any], ...]
    """One for each fault: what it was, when it was noticed, and when training went on."""
    said: str
    """By the initiator."""


async def disturb(
    folder: Path, settings: Sequence[str], faults: Sequence[Fault], on_fault: Callable[[], None] = lambda: None
) -> Found:
    """Run it, with all the faults; `on_fault` is called after each.

    The run has to be long enough for all of them; those that find it over are left out of the rows.
    """
    async with cluster(folder, settings) as run:
        await run.train()
        for worker in range(1, WORKERS + 1):
            await run.join(worker)
        rows = []
        for fault in faults:
            row = await _befall(run, fault)
            if row is None:
                break
            rows.append(row)
            on_fault()
        code = await run.end()
        path = run.run / "summary.json"
        summary = json.loads(path.read_text()) if path.exists() else {}
        return Found(code, summary, tuple(rows), run.said)


async def _befall(run: Cluster, fault: Fault) -> dict[str, Any] | None:
    """Let it happen, see it noticed and made up for; None where the run is over before."""
    if not await _until(run, lambda: _is_whole(run) and bool(run.name_of(fault.worker))):
        return None
    name, home = run.name_of(fault.worker), run.home(fault.worker)
    if fault.moment is Moment.TRANSFER:  # it has to be away before it can come back
        await _kill(run, fault.worker)
        if not await _until(run, lambda: not _is_whole(run)):
            return None
        trap.order(home, fault)
        await run.join(fault.worker)
    else:
        trap.order(home, fault)
    gone_before = _losses(run, name)
    if not await _until(run, lambda: trap.fired_s(home) is not None):
        return None
    happened_s = trap.fired_s(home) or 0.0
    line = run.lines[fault.worker]
    if fault.how in CUTS:
        await line.set_silent(there=fault.how is not How.DEAF, back=fault.how is not How.DUMB)
        trap.tell_done(home)
    noticed = await _until(run, lambda: _losses(run, name) > gone_before)
    trained_on_s = time.time()
    if fault.how in CUTS:
        await line.set_silent(there=False, back=False)
    elif fault.how is How.STOP:
        os.kill(run.workers[fault.worker].pid or 0, signal.SIGCONT)
    else:
        await _kill(run, fault.worker)
        await run.join(fault.worker)
    if not noticed:
        return None
    failure = [row for row in _failures(run) if row["worker"] == name][-1]
    return {**asdict(fault), "noticed_s": failure["detected_s"], "trained_on_s": round(trained_on_s - happened_s, 3)}


async def _kill(run: Cluster, worker: int) -> None:
    process = run.workers[worker]
    process.kill()
    while process.is_alive():
        await asyncio.sleep(0.01)


async def _until(run: Cluster, condition: Callable[[], bool]) -> bool:
    """Look until it holds; whether it does before the run is over."""
    while not condition():
        if run.training is None or not run.training.is_alive():
            return False
        await asyncio.sleep(0.02)
    return True


def _is_whole(run: Cluster) -> bool:
    """Whether the initiator has given back everything that it had to take over, and a step has been made since."""
    said = run.said
    taken, given = said.count("; initiator takes over what it held"), said.count(" from the initiator")
    return "step 1/" in said and taken == given


def _losses(run: Cluster, name: str) -> int:
    return sum(row["worker"] == name for row in _failures(run))


def _failures(run: Cluster) -> Iterator[dict[str, Any]]:
    """Of steps that are committed: a row stands there once training has gone on."""
    for line in read_lines(run.run / "metrics.jsonl").lines:
        yield from line.get("failures", [])
