"""Worker processes over thin lines, with and without compression, against the same processes over the loopback.

Each worker dials over a line of its own: a real TCP proxy in another process that lets bytes through at a rate and lets
each of them take its time. The delay is one way, so an order and its answer take twice as long.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.compression import Compression, CompressionKind
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.bad_lines import LineTask
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.interleaved import InThisProcess, Measured, Way, measure_in_turns
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.subject import Size, Steps, pipeline_trainer, plan_on_one_machine
from shieldwall.lab.worker_processes import WorkerProcesses
from shieldwall.pipeline.compute import ThreadCompute
from shieldwall.run.allocator import keep_freed_memory
from shieldwall.schedule import traffic_of

GOAL = 0.7
_THREADS = 1


@dataclass(frozen=True, slots=True)
class ThinWay:
    """One way to have workers: over which lines, and how borders are packed.

    `rate_mbit_s` is 0 and `delay_ms` is 0 for workers that dial straight.
    """

    rate_mbit_s: int
    delay_ms: int
    compression: CompressionKind
    has_goal: bool = False

    @property
    def name(self) -> str:
        line = f"{self.rate_mbit_s} Mb/s + {self.delay_ms} ms" if self.is_thin else "loopback"
        return f"{line}, {self.compression}"

    @property
    def is_thin(self) -> bool:
        """Whether there is a bad line at all."""
        return bool(self.rate_mbit_s or self.delay_ms)

    @property
    def line(self) -> LineTask | None:
        """Over which each worker dials."""
        task = LineTask(port=0, delay_s=self.delay_ms / 1e3, rate_bytes_s=self.rate_mbit_s * 1e6 / 8)
        return task if self.is_thin else None


LOCAL = ThinWay(0, 0, "none")
WAYS = (
    LOCAL,
    ThinWay(0, 0, "int8"),
    ThinWay(200, 20, "int8", has_goal=True),
    ThinWay(200, 20, "none"),
    ThinWay(80, 80, "int8"),
    ThinWay(80, 80, "none"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinLinksSettings:
    """How much is measured.

    Args:
        size: of the model and a step.
        stages: K; the initiator has two of them, each worker one.
        ways: `LOCAL` and what is held against it.
        repeats: of every way.
        steps: of one way in one repeat.
        seed: of weights, tokens and the order of the ways.
    """

    size: Size
    stages: int
    ways: tuple[ThinWay, ...]
    repeats: int
    steps: int
    seed: int

    @property
    def all_steps(self) -> int:
        """Steps that every way trains: one chunk to warm up, then `repeats`."""
        return self.steps * (1 + self.repeats)

    @property
    def border_BTD(self) -> tuple[int, int, int]:  # noqa: N802 (the shape is in the name)
        """Shape of what crosses a border."""
        return (self.size.micro_batch_size, self.size.block_tokens, self.size.width)


async def measure_thin_links(settings: ThinLinksSettings, ticker: Ticker) -> Report:
    """Run the benchmark.

    Raises:
        BenchmarkError: SW-B103; a process ended or hung.

    Cost: for each way K - 2 processes of about 0.5 GiB, and one for its lines; they wait for their turn without work.
    """
    keep_freed_memory()
    rng = random.Random(derive_seed("thin links order", settings.seed))
    with tempfile.TemporaryDirectory() as scratch, pinned_arithmetic(torch.device("cpu"), _THREADS):
        folder = Path(scratch) / "model"
        settings.size.write_model(settings.seed, folder)
        async with _ways(settings, folder) as ways:
            chunks = range(settings.repeats + 1)
            what = "thin links"
            measured = await measure_in_turns(ways, chunks, steps=settings.steps, rng=rng, ticker=ticker, what=what)
    return _report(settings, measured)


@asynccontextmanager
async def _ways(settings: ThinLinksSettings, folder: Path) -> AsyncIterator[dict[str, Way]]:
    steps = settings.size.draw_tokens(settings.seed, settings.all_steps)
    ways: dict[str, Way] = {}
    async with AsyncExitStack() as running:
        for number, way in enumerate(settings.ways):
            workers = WorkerProcesses(folder.parent / f"run-{number}", way.line)
            training = _trained_over(way.compression, settings.stages, workers, folder, steps)
            ways[way.name] = await running.enter_async_context(training)
        yield ways


@asynccontextmanager
async def _trained_over(
    compression: CompressionKind, stages: int, workers: WorkerProcesses, folder: Path, steps: Steps
) -> AsyncIterator[Way]:
    plan = plan_on_one_machine("gpipe", stages, len(steps[0]))
    compute = ThreadCompute()
    async with pipeline_trainer(
        folder, steps, plan, compute_of=lambda _: compute, deploy=workers, compression=compression
    ) as trainer:
        yield InThisProcess(trainer)


def _report(settings: ThinLinksSettings, measured: Measured) -> Report:
    ratios = {way: measured.ratios(way.name, LOCAL.name) for way in settings.ways}
    thin = [way for way in settings.ways if way is not LOCAL]
    return Report(
        name="thin_links",
        title="Worker processes over thin lines",
        setup={
            **asdict(settings.size),
            "stages": settings.stages,
            "steps_per_repeat": settings.steps,
            "repeats": settings.repeats,
            "threads_of_each_process": _THREADS,
        },
        tables=(_table(settings, measured, ratios),),
        goals=tuple(
            Goal(
                text=f"{way.name}: share of the loopback's tokens/s without compression",
                limit=GOAL,
                measured=ratios[way].median,
                at_least=True,
            )
            for way in thin
            if way.has_goal
        ),
        receipts=_receipts(settings, measured),
        notes=_NOTES,
        chart=Chart(
            title="Tokens per second over thin lines",
            x_label="share of the loopback's in the same repeat, which does not compress",
            rows=tuple(ChartRow(way.name, ratios[way].values, way.compression != "none") for way in thin),
            limits=((GOAL, f"goal: {GOAL:g} or more at 200 Mb/s + 20 ms, int8"),),
            from_zero=True,
        ),
    )


_NOTES = (
    "Every worker is a process that has dialled this one over mutual TLS, straight or over a line of its own: a TCP"
    " proxy in another process, the same in both directions. The delay is one way: an order and its answer take twice"
    " as long. Two workers talk through the initiator, over both their lines.",
    "gpipe, nothing is checked, one thread in each process. The clock runs until all have said that they committed,"
    " which a step in the middle of a run does not wait for. All processes live through the whole run; those that are"
    " not in turn send a sign of life four times a second.",
    "Compression rounds what crosses borders, so its losses are others; that they are the same over every line is a"
    " receipt.",
)


def _table(settings: ThinLinksSettings, measured: Measured, ratios: Mapping[ThinWay, Spread]) -> Table:
    plan = plan_on_one_machine("gpipe", settings.stages, settings.size.micro_batches)
    tensors = sum(traffic_of(plan))

    def row(way: ThinWay) -> dict[str, Any]:
        seconds = Spread(tuple(measured.seconds[way.name]))
        rates = Spread(tuple(settings.size.step_tokens / each for each in seconds.values))
        return {
            "variant": way.name,
            "rate_mbit_s": way.rate_mbit_s,
            "delay_ms": way.delay_ms,
            "compression": way.compression,
            "tensor_mib": tensors * Compression(way.compression).sent_bytes(settings.border_BTD) / 2**20,
            **rates.to_json("tokens_per_second"),
            **ratios[way].to_json("ratio"),
            "step_ms_median": seconds.median * 1e3,
            "last_loss": measured.losses[way.name][-1],
        }

    columns = (
        Column("variant", "line, compression"),
        Column("tensor_mib", "MiB of tensors in a step", "{:.2f}"),
        Column("tokens_per_second_median", "tokens/s, median", "{:,.0f}"),
        Column("ratio_median", "share of the loopback's, median", "{:.3f}"),
        Column("ratio_min", "least", "{:.3f}"),
        Column("ratio_max", "most", "{:.3f}"),
        Column("step_ms_median", "ms a step", "{:.1f}"),
        Column("last_loss", "loss of the last step", "{:.6f}"),
    )
    return Table("thin_links", "Tokens per second", columns, [row(way) for way in settings.ways])


def _receipts(settings: ThinLinksSettings, measured: Measured) -> tuple[Receipt, ...]:
    """One for each compression that goes over several lines, which decide no bits; and that it was applied."""
    kinds = dict.fromkeys(way.compression for way in settings.ways)
    found = []
    for kind in kinds:
        names = [way.name for way in settings.ways if way.compression == kind]
        losses = [measured.losses[name] for name in names]
        text = f"the losses of {'; '.join(names)} are the same, bit for bit, in each of {len(losses[0])} steps"
        if len(names) > 1:
            found.append(Receipt(text, all(each == losses[0] for each in losses)))
    apart = len({tuple(measured.losses[way.name]) for way in settings.ways}) == len(kinds)
    found.append(Receipt("each compression has losses of its own: it was applied", apart))
    return tuple(found)
