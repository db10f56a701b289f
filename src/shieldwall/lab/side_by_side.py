"""Side by side: plain training, shieldwall in one process, and `torch.distributed.pipelining` in one process a stage.

All train the same model on the same tokens in one interleaved run, which has more and smaller micro-batches than the
first tables: torch's 1F1B refuses fewer micro-batches than stages. Where there is a CUDA device, all of it is measured
on that device as well, which all processes then share.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.interleaved import InThisProcess, Measured, Way, measure_in_turns
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Section
from shieldwall.lab.side_by_side_report import PLAIN, Pair, section_of
from shieldwall.lab.subject import Size, Steps, pipeline_trainer, plan_on_one_machine
from shieldwall.lab.torch_pipelining import TorchWay, torch_ranks
from shieldwall.lab.torch_rank import RankTask
from shieldwall.lab.whole import PlainTrainer
from shieldwall.models.span import even_cut, spans_of
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.feed import Feed
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.run.allocator import keep_freed_memory
from shieldwall.run.deployment import deploy
from shieldwall.schedule import Plan

SCHEDULES = ("gpipe", "1f1b")
_RANK_THREADS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySideSettings:
    """How much is measured.

    Args:
        size: of the model and a step; the model is a GPT-2 with at least as many layers and micro-batches as stages.
        stages: each K that is measured.
        repeats: of every way.
        steps: of one way in one repeat.
        seed: of weights, tokens and the order of the ways.
        devices: torch's names; each is measured by itself.
        reply_within: for torch's processes to start, and for one of them to train `steps` steps.
    """

    size: Size
    stages: tuple[int, ...]
    repeats: int
    steps: int
    seed: int
    devices: tuple[str, ...]
    reply_within: timedelta = timedelta(minutes=5)

    @property
    def all_steps(self) -> int:
        """Steps that every way trains on a device: one chunk to warm up, then `repeats`."""
        return self.steps * (1 + self.repeats)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What is held against each other."""
        return tuple(Pair(stages, schedule) for stages in self.stages for schedule in SCHEDULES)


def devices_here() -> tuple[str, ...]:
    """The CPU, and CUDA where there is such a device."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


async def measure_side_by_side(settings: SideBySideSettings, ticker: Ticker) -> Section:
    """Run the comparison on each device.

    All processes, this one included, ask the C library to keep freed memory; this one for the rest of its life.

    Raises:
        BenchmarkError: SW-B101 or SW-B102; one of torch's processes ended or hung.

    Cost: for the default size about 0.5 s a step on two cores, and `all_steps` steps of thirteen ways; eleven more
    processes of about 0.5 GiB.
    """
    keep_freed_memory()
    measured = {device: await _measure_on(device, settings, ticker) for device in settings.devices}
    return section_of(measured, settings.pairs, settings.size, settings.steps)


async def _measure_on(device: str, settings: SideBySideSettings, ticker: Ticker) -> Measured:
    rng = random.Random(derive_seed("side by side order", settings.seed))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        settings.size.write_model(settings.seed, folder)
        with pinned_arithmetic(torch.device(device), torch.get_num_threads()):
            async with _ways(settings, device, folder) as ways:
                return await measure_in_turns(
                    ways,
                    range(settings.repeats + 1),
                    steps=settings.steps,
                    rng=rng,
                    ticker=ticker,
                    what=f"side by side, {device}",
                )


@asynccontextmanager
async def _ways(settings: SideBySideSettings, device: str, folder: Path) -> AsyncIterator[dict[str, Way]]:
    steps = settings.size.draw_tokens(settings.seed, settings.all_steps)
    ways: dict[str, Way] = {PLAIN: InThisProcess(PlainTrainer(folder, steps, device=device), device)}
    async with AsyncExitStack() as running:
        for stages in settings.stages:
            tasks = rank_tasks(settings, stages, device, folder)
            ranks = await running.enter_async_context(torch_ranks(tasks, folder.parent, settings.reply_within))
            ways |= {Pair(stages, schedule).torch: TorchWay(ranks, schedule) for schedule in SCHEDULES}
        for pair in settings.pairs:
            ways[pair.ours] = await running.enter_async_context(_pipeline_way(pair, device, folder, steps))
        yield ways


@asynccontextmanager
async def _pipeline_way(pair: Pair, device: str, folder: Path, steps: Steps) -> AsyncIterator[Way]:
    plan = plan_on_one_machine(pair.schedule, pair.stages, len(steps[0]))
    deploy = partial(_deploy_on, torch.device(device))
    async with pipeline_trainer(folder, steps, plan, deploy=deploy) as trainer:
        yield InThisProcess(trainer, device)


def _deploy_on(
    device: torch.device, plan: Plan, settings: HostSettings, feed: Feed, **options: Any
) -> AbstractAsyncContextManager[Coordinator]:
    """As `deploy`, on `device`."""
    return deploy(plan, replace(settings, device=device), feed, **options)


def rank_tasks(settings: SideBySideSettings, stages: int, device: str, folder: Path) -> Sequence[RankTask]:
    """A task for each of `stages` ranks, cut as the pipeline cuts; the ranks meet through a file beside `folder`."""
    spans = spans_of(even_cut(settings.size.layers, stages))
    return [
        RankTask(
            rank=rank,
            layers=tuple((span.first, span.last) for span in spans),
            schedules=SCHEDULES,
            folder=str(folder),
            vocabulary=settings.size.vocabulary,
            shape=settings.size.shape,
            steps=settings.all_steps,
            seed=settings.seed,
            threads=_RANK_THREADS,
            device=device,
            meeting=str(folder.parent / f"meeting-{stages}"),
            patience_s=2 * settings.reply_within.total_seconds(),
        )
        for rank in range(stages)
    ]
