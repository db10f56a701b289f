"""Tokens per second: plain training of the unsplit model against the pipeline in one process.

All ways train the same model on the same tokens in one process. Each repeat runs every way for a few steps, in an
order drawn anew, so that whatever else the machine does hits all of them alike; what counts is the ratio to plain
training within the same repeat. All of it is done twice: with the C library's allocator as it comes, and with the
setting that the commands make (`run/allocator.py`), which plain training then has as well. The losses of all ways
must be the same bits, else the ways did not do the same work.
"""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shieldwall.core.seeds import derive_seed
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.interleaved import SPEED_COLUMNS, InThisProcess, Measured, measure_in_turns
from shieldwall.lab.overhead import PIPELINE_PARTS, PLAIN_PARTS, StepProfile, overhead_rows, profile_steps
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.subject import Size, Steps, Trainer, pipeline_trainer, plan_on_one_machine
from shieldwall.lab.whole import PlainTrainer
from shieldwall.run.allocator import keep_freed_memory

GOAL = 0.97
PLAIN = "plain"
HEADLINE = "shieldwall K=6 gpipe"
_PIPELINES = {
    "shieldwall K=3 gpipe": (3, "gpipe"),
    HEADLINE: (6, "gpipe"),
    "shieldwall K=6 1f1b": (6, "1f1b"),
}
_ALL_FORWARDS = "plain, all forwards first"
_LOOP_ADAMW = "plain, default AdamW (loop)"
_AS_IT_COMES, _KEEPING = "allocator as it comes", "allocator keeps freed memory"
_ALLOCATORS = (_AS_IT_COMES, _KEEPING)
_PROFILED_CHUNKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputSettings:
    """How much is measured.

    Args:
        size: of the model and a step.
        repeats: of every way.
        steps: of one way in one repeat.
        seed: of weights, tokens and the order of the ways.
    """

    size: Size
    repeats: int
    steps: int
    seed: int

    @property
    def all_steps(self) -> int:
        """Steps that every way trains: with each allocator one chunk to warm up and `repeats`, then those profiled."""
        return self.steps * (len(_ALLOCATORS) * (1 + self.repeats) + _PROFILED_CHUNKS)


async def measure_throughput(settings: ThroughputSettings, ticker: Ticker) -> Report:
    """Run the benchmark.

    Cost: for the default size about 0.5 s a step on two cores, and `all_steps` steps of six ways.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        settings.size.write_model(settings.seed, folder)
        steps = settings.size.draw_tokens(settings.seed, settings.all_steps)
        async with _trainers(folder, steps) as trainers:
            measured = await _measure_both(trainers, settings, ticker)
            profiles = await _profile(trainers, settings, ticker)
    return _report(settings, measured, profiles)


@asynccontextmanager
async def _trainers(folder: Path, steps: Steps) -> AsyncIterator[dict[str, Trainer]]:
    trainers: dict[str, Trainer] = {PLAIN: PlainTrainer(folder, steps)}
    async with AsyncExitStack() as deployments:
        for name, (stages, schedule) in _PIPELINES.items():
            plan = plan_on_one_machine(schedule, stages, len(steps[0]))
            trainers[name] = await deployments.enter_async_context(pipeline_trainer(folder, steps, plan))
        trainers[_ALL_FORWARDS] = PlainTrainer(folder, steps, all_forwards_first=True)
        trainers[_LOOP_ADAMW] = PlainTrainer(folder, steps, fused=False)
        yield trainers


async def _measure_both(
    trainers: Mapping[str, Trainer], settings: ThroughputSettings, ticker: Ticker
) -> dict[str, Measured]:
    """Measure with each allocator; the second is asked for in between and stays for the rest of the process."""
    rng = random.Random(derive_seed("benchmark order", settings.seed))
    chunks = [range(settings.repeats + 1), range(settings.repeats + 1, 2 * (settings.repeats + 1))]
    ways = {name: InThisProcess(trainer) for name, trainer in trainers.items()}
    measure = partial(measure_in_turns, ways, steps=settings.steps, rng=rng, ticker=ticker, what="throughput")
    before = await measure(chunks[0])
    if not keep_freed_memory():
        return {_AS_IT_COMES: before}
    return {_AS_IT_COMES: before, _KEEPING: await measure(chunks[1])}


async def _profile(
    trainers: Mapping[str, Trainer], settings: ThroughputSettings, ticker: Ticker
) -> dict[str, list[StepProfile]]:
    ways = {PLAIN: PLAIN_PARTS, HEADLINE: PIPELINE_PARTS}
    ticker.begin("where the time goes", _PROFILED_CHUNKS * len(ways))
    profiles: dict[str, list[StepProfile]] = {name: [] for name in ways}
    for chunk in range(_PROFILED_CHUNKS):
        last = settings.all_steps - settings.steps * chunk
        for name, parts in ways.items():
            gc.collect()
            profiles[name].append(await profile_steps(trainers[name], last - settings.steps, last, parts))
            ticker.tick()
    return profiles


def _report(
    settings: ThroughputSettings,
    measured: Mapping[str, Measured],
    profiles: Mapping[str, Sequence[StepProfile]],
) -> Report:
    setting, counted = list(measured.items())[-1]
    ratios = _ratios(counted)
    goals = tuple(
        Goal(text=f"{name}, share of plain's tokens/s ({setting})", limit=GOAL, measured=spread.median, at_least=True)
        for name, spread in ratios.items()
        if name in _PIPELINES
    )
    tables = [_speed_table(settings, allocator, each) for allocator, each in measured.items()]
    tables.append(_overhead_table(profiles))
    if not all(goal.met for goal in goals):
        tables.append(_top_table(profiles))
    return Report(
        name="throughput",
        title="Throughput in one process",
        setup={**asdict(settings.size), "steps_per_repeat": settings.steps, "repeats": settings.repeats},
        tables=tuple(tables),
        goals=goals,
        receipts=tuple(_receipt(allocator, each) for allocator, each in measured.items()),
        notes=_NOTES,
        chart=_chart(setting, ratios),
    )


_NOTES = (
    "One process. After one chunk of steps to warm each way up, every repeat runs all ways for a few steps each in an"
    " order drawn anew; the ratio is to plain training in the same repeat.",
    "Plain is Hugging Face's unsplit model with gradient accumulation, `clip_grad_norm_` at 1.0 and torch's fused"
    " AdamW; the pipeline runs the same kernels. Dropout is 0, attention is sdpa.",
    "`plain, all forwards first` keeps the graphs of all micro-batches before the first backward pass, as gpipe must:"
    " what it loses is the price of the schedule's memory, not of the engine.",
    "The goals are held against plain training that has the same allocator as the pipeline: the one that the commands"
    " ask for, if the C library grants it.",
    "Where the time goes was measured under Python's profiler, in steps of its own and with the last allocator above;"
    " parts in pure Python look slower under it than they are.",
)


def _ratios(measured: Measured) -> dict[str, Spread]:
    return {name: measured.ratios(name, PLAIN) for name in measured.seconds}


def _receipt(allocator: str, measured: Measured) -> Receipt:
    plain = measured.losses[PLAIN]
    ways = [name for name in measured.losses if name not in (PLAIN, _LOOP_ADAMW)]
    return Receipt(
        f"the losses of {'; '.join(ways)} equal plain's, bit for bit, in each of {len(plain)} steps ({allocator})",
        all(measured.losses[name] == plain for name in ways),
    )


def _speed_table(settings: ThroughputSettings, allocator: str, measured: Measured) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "variant": name,
            **measured.speed_cells(name, PLAIN, settings.size.step_tokens),
            "losses_equal_plain": measured.losses[name] == measured.losses[PLAIN],
        }
        for name in measured.seconds
    ]
    columns = (
        Column("variant", "variant"),
        *SPEED_COLUMNS,
        Column("losses_equal_plain", "losses equal plain's"),
    )
    name = "variants_kept" if allocator == _KEEPING else "variants"
    return Table(name, f"Tokens per second, {allocator}", columns, rows)


def _overhead_table(profiles: Mapping[str, Sequence[StepProfile]]) -> Table:
    columns = (
        Column("part", "part of a step"),
        Column("plain_ms", "plain, ms", "{:.2f}"),
        Column("pipeline_ms", f"{HEADLINE}, ms", "{:.2f}"),
        Column("extra_ms", "extra, ms", "{:+.2f}"),
    )
    rows = overhead_rows(profiles[PLAIN], profiles[HEADLINE])
    return Table("overhead", "Where the time goes", columns, rows)


def _top_table(profiles: Mapping[str, Sequence[StepProfile]]) -> Table:
    columns = (
        Column("function", "function"),
        Column("calls", "calls a step", "{:.0f}"),
        Column("own_ms", "own ms a step", "{:.2f}"),
    )
    title = f"A goal was missed: the functions of {HEADLINE} with most time of their own"
    return Table("profile", title, columns, profiles[HEADLINE][-1].top)


def _chart(allocator: str, ratios: Mapping[str, Spread]) -> Chart:
    return Chart(
        title=f"Throughput in one process, {allocator}",
        x_label="tokens per second, plain in the same repeat = 1",
        rows=tuple(ChartRow(name, spread.values, name in _PIPELINES) for name, spread in ratios.items()),
        limits=((GOAL, f"goal: {GOAL} or more"),),
        form="{:.3f}",
    )
