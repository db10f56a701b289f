"""One real run whose port is under fire: while it waits for its last worker, and while it trains."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from shieldwall.core.lines import read_lines
from shieldwall.lab.fuzz.assault import Assault, Idlers, assault
from shieldwall.lab.recovery.cluster import Cluster, cluster
from shieldwall.transport.identity.fit import describe_machine
from shieldwall.transport.identity.gate import Gate

_ROUNDS = 10
"""Parts of the assault, after each of which the initiator's process is looked at."""
_MEMBERS = 8
_OUTSIDERS = ("tcp", "tls", "http2", "guest")
_TRAINING_INPUTS = 200
"""Of each part that is sent while the run trains, by outsiders: members are then given work, and garbage in its place
is the same as dying, over and over."""
_WARM = 0.02
"""Share of the inputs after which code has been loaded and pools have been filled: growth counts from there."""
_SETTLES_S = 2.0
_TOLD = re.compile(r"^(refused|dropped), .*$", re.MULTILINE)


@dataclass(slots=True)
class Siege:
    """What became of it."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """When, inputs so far, and memory, files, threads and connections of the initiator's process."""
    inputs: dict[str, int] = field(default_factory=dict)
    """Sent before the last worker came, by kind."""
    refused: dict[str, int] = field(default_factory=dict)
    training_inputs: int = 0
    """Sent while it trained."""
    idle: int = 0
    """Connections that said nothing and were open at once when the last worker joined."""
    idle_closed: int = 0
    """By the port, of these."""
    code: int = -1
    """The initiator's exit code."""
    summary: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    """Of the initiator's log about what it refused or dropped."""
    said: str = ""

    def row(self, name: str) -> dict[str, Any]:
        """The last of that name."""
        return next(row for row in reversed(self.rows) if row["when"] == name)


async def besiege(
    folder: Path, settings: Sequence[str], *, inputs: int, idle: int, seed: int, tick: Callable[[], None] = lambda: None
) -> Siege:
    """Start the run and its workers, fire, and see what is left.

    Args:
        folder: for everything that the processes write.
        settings: of a run with two workers.
        inputs: that are sent before the last worker joins; more of the same follow while the run trains.
        idle: connections that say nothing, held while it joins.
        seed: of all inputs.
        tick: called after each input.

    Raises:
        BenchmarkError: SW-B104; the run has ended before it was to.
    """
    siege = Siege()
    async with cluster(folder, settings) as run:
        await run.train()
        await run.join(1)
        await run.until(lambda: "worker-1 is there" in run.said)
        gate = Gate.load(run.run / "private")
        async with assault(
            gate.book.addresses[0], gate, describe_machine(torch.device("cpu")), members=_MEMBERS
        ) as army:
            await _look(siege, run, army, "before")
            await _fire(siege, run, army, inputs, str(seed), tick)
            await _hold_idle(siege, run, army, idle)
            await _fire_while_it_trains(siege, run, army, str(seed))
        siege.code = await run.end()
        path = run.run / "summary.json"
        siege.summary = json.loads(path.read_text()) if path.exists() else {}
        siege.said, siege.lines = run.said[-3000:], len(_TOLD.findall(run.said))
    return siege


async def _fire(siege: Siege, run: Cluster, army: Assault, inputs: int, seed: str, tick: Callable[[], None]) -> None:
    warm = round(_WARM * inputs)
    await army.send(warm, f"{seed}/warm", tick)
    await _look(siege, run, army, "warm")
    for number in range(_ROUNDS):
        share = (inputs - warm) // _ROUNDS + (number < (inputs - warm) % _ROUNDS)
        await army.send(share, f"{seed}/{number}", tick)
        await _look(siege, run, army, f"part {number + 1}")
    siege.inputs, siege.refused = dict(army.sent.inputs), dict(army.sent.refused)


async def _hold_idle(siege: Siege, run: Cluster, army: Assault, idle: int) -> None:
    """The last worker joins while nothing is said over so many connections."""
    idlers = Idlers(army.host, army.port, idle)
    async with idlers.held():
        await _look(siege, run, army, "idle connections")
        siege.idle = idlers.open
        await run.join(2)
        await run.until(lambda: _steps(run) > 0)
        siege.idle_closed = idlers.closed
    await _look(siege, run, army, "after them")


async def _fire_while_it_trains(siege: Siege, run: Cluster, army: Assault, seed: str) -> None:
    before, number = army.sent.all, 0
    while run.training and run.training.is_alive():
        await army.send(_TRAINING_INPUTS, f"{seed}/training/{number}", kinds=_OUTSIDERS, together=1)
        number += 1
        if run.training.is_alive():
            await _look(siege, run, army, "training")
    siege.training_inputs = army.sent.all - before


async def _look(siege: Siege, run: Cluster, army: Assault, when: str) -> None:
    await asyncio.sleep(_SETTLES_S)  # what is being closed is given the time to be
    if run.training is None or run.training.pid is None:
        return
    try:
        process = psutil.Process(run.training.pid)
        with process.oneshot():
            found = {
                "rss_mib": process.memory_info().rss / 2**20,
                "files": process.num_fds(),
                "threads": process.num_threads(),
            }
    except psutil.NoSuchProcess:  # it has ended meanwhile, which is not looked at here
        return
    siege.rows.append({"when": when, "inputs": army.sent.all, "steps": _steps(run), **found})


def _steps(run: Cluster) -> int:
    metrics = run.run / "metrics.jsonl"
    return len(read_lines(metrics).lines) if metrics.exists() else 0
