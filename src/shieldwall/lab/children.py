"""A process that a benchmark starts beside itself: asked by lines of JSON, ended when the benchmark is.

The process gets its task as JSON in its last argument, says a first line when it is ready, answers each line on its
standard input by one on its standard output, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from shieldwall.core.errors import BenchmarkError

START_WITHIN = timedelta(minutes=3)
"""For a process to import what it needs on a busy machine."""
_END_WITHIN = timedelta(seconds=20)
QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True, slots=True)
class Child:
    """One process.

    Args:
        name: what it is, for messages.
        process: that it is.
        log: its standard error.
        ready: what it said first.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path
    ready: Mapping[str, Any]

    async def ask(self, order: Mapping[str, Any], within: timedelta) -> dict[str, Any]:
        """The answer to an order.

        Raises:
            BenchmarkError: SW-B103; the process has ended, or did not answer in time.
        """
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return await _next_line(self.process, self.name, self.log, within)


@asynccontextmanager
async def started(module: str, task: Mapping[str, Any], *, name: str, folder: Path) -> AsyncIterator[Child]:
    """`python -m MODULE TASK`, until the block ends.

    Args:
        module: that is run.
        task: what it shall do, as plain data.
        name: what it is, for messages.
        folder: for what it prints on its standard error.

    Raises:
        BenchmarkError: SW-B103; it did not get ready.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, json.dumps(task)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **QUIET},
        )
    try:
        yield Child(name, process, log, await _next_line(process, name, log, START_WITHIN))
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """Wait until a process has ended that was told to; kill it where it does not."""
    try:
        await asyncio.wait_for(process.wait(), _END_WITHIN.total_seconds())
    except TimeoutError:
        process.kill()
        await process.wait()


def not_there(name: str, log: Path, got: str) -> BenchmarkError:
    """SW-B103: a process that a benchmark started is not there when it is needed."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    printed = [line.strip() for line in lines if line.strip()][-1:]
    return BenchmarkError(
        "SW-B103",
        "a process that the benchmark started is not there when it is needed",
        where=name,
        expected="it gets ready, answers, and ends when it is told to",
        got=": ".join([got, *printed]),
        state="the others were ended too; this benchmark's report was not written",
        remedy="look at what else the machine does, and whether its memory is enough; then run the benchmark again",
    )


async def _next_line(process: asyncio.subprocess.Process, name: str, log: Path, within: timedelta) -> dict[str, Any]:
    if process.stdout is None:
        raise not_there(name, log, "no standard output")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), within.total_seconds())
    except TimeoutError as error:
        raise not_there(name, log, f"no answer within {within.total_seconds():g} s") from error
    if not line.endswith(b"\n"):
        raise not_there(name, log, "its end")
    answer: dict[str, Any] = json.loads(line)
    return answer
