"""The ranks of `torch.distributed.pipelining`, seen from the benchmark: started once, told when to train, ended.

Each rank is a process of its own (`torch_rank.py`); the ranks talk to each other by gloo on the loopback interface and
to the benchmark by lines of JSON. Between two orders all of them wait for the next line, so they take nothing from
whatever is measured in the meantime. A rank that ends or hangs ends the benchmark.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from shieldwall.core.errors import BenchmarkError
from shieldwall.lab.interleaved import TimedSteps
from shieldwall.lab.rank_process import Rank, RankGone, end_ranks, start_rank
from shieldwall.lab.torch_rank import RankTask

_END_WITHIN = timedelta(seconds=30)
"""For a process that has closed its output to be gone; on a busy machine that takes a while."""
_FOLLOW_WITHIN = timedelta(seconds=3)
"""For ranks to end after one of them did, so that the message can name them too."""


class TorchRanks:
    """All ranks of one pipeline.

    Args:
        ranks: in order.
        reply_within: for an answer to any order.
    """

    def __init__(self, ranks: Sequence[Rank], reply_within: timedelta) -> None:
        self.ranks = tuple(ranks)
        self._reply_within = reply_within

    async def ask(self, order: Mapping[str, Any] | None, what: str) -> list[dict[str, Any]]:
        """Send `order` to all ranks, if there is one, and wait for all their answers.

        Raises:
            BenchmarkError: SW-B101, a rank's process has ended; SW-B102, a rank did not answer in time.

        If it fails or is cancelled: all ranks are killed, for one that still works can never answer rightly again.
        """
        answered = False
        asked = [asyncio.create_task(rank.ask(order)) for rank in self.ranks]
        try:
            done, late = await asyncio.wait(
                asked, timeout=self._reply_within.total_seconds(), return_when=asyncio.FIRST_EXCEPTION
            )
            if any(isinstance(task.exception(), RankGone) for task in done):
                raise await self._gone(what)
            if late:
                raise self._late([index for index, task in enumerate(asked) if task in late], what)
            answers = [task.result() for task in asked]
            answered = True
            return answers
        finally:
            if not answered:
                for rank in self.ranks:
                    rank.kill()
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _gone(self, what: str) -> BenchmarkError:
        """Names the ranks that ended; those that one took along come soon after it."""
        waits = [asyncio.create_task(rank.process.wait()) for rank in self.ranks]
        await asyncio.wait(waits, timeout=_END_WITHIN.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        _, late = await asyncio.wait(waits, timeout=_FOLLOW_WITHIN.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return BenchmarkError(
            "SW-B101",
            "a rank of torch.distributed.pipelining ended in the middle of the benchmark",
            where=f"{len(self.ranks)} ranks, {what}",
            expected="every rank answers until it is told to end",
            got="\n".join(rank.end() for rank in self.ranks if rank.end()) or "a closed pipe",
            state="the other ranks were ended too; this benchmark's report was not written",
            remedy="a rank that took others along is the one without their network error; SIGKILL often means that"
            " memory ran out",
        )

    def _late(self, late: Sequence[int], what: str) -> BenchmarkError:
        return BenchmarkError(
            "SW-B102",
            "ranks of torch.distributed.pipelining did not answer in time",
            where=f"{len(self.ranks)} ranks, {what}",
            expected=f"an answer within {self._reply_within.total_seconds():g} s",
            got=f"none from rank {', '.join(map(str, late))}; one that hangs holds up the others",
            state="all ranks were ended; this benchmark's report was not written",
            remedy="look at what else the machine does, then run the benchmark again",
        )


class TorchWay:
    """Training through some ranks under one of their schedules."""

    def __init__(self, ranks: TorchRanks, schedule: str) -> None:
        self._ranks, self._schedule = ranks, schedule

    async def train_timed(self, first: int, last: int) -> TimedSteps:
        """The slowest rank's time counts, by its own clock; the losses are the last rank's."""
        order = {"schedule": self._schedule, "first": first, "last": last}
        answers = await self._ranks.ask(order, f"{self._schedule}, steps {first} to {last - 1}")
        seconds = max(float(answer["seconds"]) for answer in answers)
        return TimedSteps(seconds / (last - first), answers[-1]["losses"])


@asynccontextmanager
async def torch_ranks(tasks: Sequence[RankTask], logs: Path, reply_within: timedelta) -> AsyncIterator[TorchRanks]:
    """Start a process for each task; when the block is left, all of them have ended.

    Args:
        tasks: one for each rank, in order.
        logs: a folder for what the ranks print.
        reply_within: for the ranks to be ready, and for any later answer.

    Raises:
        BenchmarkError: SW-B101 or SW-B102; a rank ended or did not get ready.
    """
    started: list[Rank] = []
    try:
        for task in tasks:
            started.append(await start_rank(task, logs / f"rank-{task.rank}-of-{len(tasks)}.log"))  # noqa: PERF401
        ranks = TorchRanks(started, reply_within)
        await ranks.ask(None, "starting")
        yield ranks
    finally:
        await end_ranks(started)
