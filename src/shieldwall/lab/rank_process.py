"""One process of `torch.distributed.pipelining` as the benchmark holds it: started, asked by lines of JSON, ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from shieldwall.lab.torch_rank import RankTask

_END_WITHIN = timedelta(seconds=30)
"""For ranks to end by themselves after the last order."""


class RankGone(Exception):  # noqa: N818 (it is no error yet: who asked says what it means)
    """A rank's process answers no more."""


@dataclass(frozen=True, slots=True)
class Rank:
    """One process."""

    index: int
    process: asyncio.subprocess.Process
    log: Path
    """Its standard error."""

    async def ask(self, order: Mapping[str, Any] | None) -> dict[str, Any]:
        """The next answer, after `order` was sent if there is one.

        Raises:
            RankGone: the process ended, or closed its standard output.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise RankGone(self.index)
        if order is not None:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise RankGone(self.index)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.returncode is None:
            self.process.kill()

    def end(self) -> str:
        """How it ended, with the last line that it printed; empty while it runs."""
        code = self.process.returncode
        if code is None:
            return ""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        printed = [line.strip() for line in lines if line.strip()][-1:]
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ": ".join([f"rank {self.index}", how, *printed])


async def start_rank(task: RankTask, log: Path) -> Rank:
    """Start the process of `task`; what it prints goes to `log`."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    local = {"OMP_NUM_THREADS": str(task.threads), "GLOO_SOCKET_IFNAME": _loopback_interface()}
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shieldwall.lab.torch_rank", task.to_json()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **quiet, **local},
        )
    return Rank(task.rank, process, log)


async def end_ranks(ranks: Sequence[Rank]) -> None:
    """Close all standard inputs, which ends a rank that waits; kill what has not ended after a while."""
    for rank in ranks:
        if rank.process.stdin is not None:
            rank.process.stdin.close()
    ends = [asyncio.create_task(rank.process.communicate()) for rank in ranks]
    if not ends:
        return
    await asyncio.wait(ends, timeout=_END_WITHIN.total_seconds())
    for rank in ranks:
        rank.kill()
    await asyncio.gather(*ends, return_exceptions=True)


def _loopback_interface() -> str:
    name: str
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.family == socket.AF_INET and each.address == "127.0.0.1" for each in addresses):
            return name
    return "lo"
