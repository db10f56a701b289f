"""Worker processes over mutual TLS, unchecked, against `torch.distributed.pipelining` in as many processes.

With P processes torch has P stages, one on each. A run's initiator holds the first stage and the last one, so ours has
P + 1 stages, cut such that each process computes the same layers as its counterpart: what torch's first and last rank
have besides, embeddings and head, the initiator has both of. All processes compute with one thread. All ways train the
same model on the same tokens in one interleaved run.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.interleaved import SPEED_COLUMNS, InThisProcess, Measured, Way, measure_in_turns
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Table
from shieldwall.lab.side_by_side import SideBySideSettings, rank_tasks
from shieldwall.lab.side_by_side_report import CPU_TOLERANCE, FIRST_STEPS, PLAIN, loss_difference
from shieldwall.lab.subject import Size, Steps, pipeline_trainer, plan_on_one_machine
from shieldwall.lab.torch_pipelining import TorchWay, torch_ranks
from shieldwall.lab.whole import PlainTrainer
from shieldwall.lab.worker_processes import WorkerProcesses
from shieldwall.models.span import even_cut
from shieldwall.pipeline.compute import ThreadCompute
from shieldwall.run.allocator import keep_freed_memory

GOAL = 1.0
_THREADS = 1


@dataclass(frozen=True, slots=True)
class Contest:
    """Two ways with as many processes and the same schedule."""

    processes: int
    schedule: str

    @property
    def ours(self) -> str:
        return f"shieldwall, {self.processes} processes, {self.schedule}"

    @property
    def torch(self) -> str:
        return f"torch, {self.processes} processes, {self.schedule}"

    def cut(self, layers: int) -> list[int]:
        """Layers of each of our stages: the initiator's share is that of one of torch's ranks, in two halves."""
        first, *middle = even_cut(layers, self.processes)
        return [first - first // 2, *middle, first // 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinesSettings:
    """How much is measured.

    Args:
        size: of the model and a step; at least as many layers and micro-batches as stages.
        contests: what is held against each other.
        repeats: of every way.
        steps: of one way in one repeat.
        seed: of weights, tokens and the order of the ways.
        reply_within: for torch's processes to start, and for one of them to train `steps` steps.
    """

    size: Size
    contests: tuple[Contest, ...]
    repeats: int
    steps: int
    seed: int
    reply_within: timedelta = timedelta(minutes=5)

    @property
    def all_steps(self) -> int:
        """Steps that every way trains: one chunk to warm up, then `repeats`."""
        return self.steps * (1 + self.repeats)

    @property
    def ranks(self) -> SideBySideSettings:
        """The same for torch's processes."""
        return SideBySideSettings(
            size=self.size,
            stages=(),
            repeats=self.repeats,
            steps=self.steps,
            seed=self.seed,
            devices=("cpu",),
            reply_within=self.reply_within,
        )


async def measure_machines(settings: MachinesSettings, ticker: Ticker) -> Report:
    """Run the benchmark.

    Raises:
        BenchmarkError: SW-B101 to SW-B103; a process ended or hung.

    Cost: for each contest 2 P - 1 processes of about 0.5 GiB beside this one; they wait for their turn without work.
    """
    keep_freed_memory()
    rng = random.Random(derive_seed("machines order", settings.seed))
    with tempfile.TemporaryDirectory() as scratch, pinned_arithmetic(torch.device("cpu"), _THREADS):
        folder = Path(scratch) / "model"
        settings.size.write_model(settings.seed, folder)
        async with _ways(settings, folder) as ways:
            chunks = range(settings.repeats + 1)
            what = "machines"
            measured = await measure_in_turns(ways, chunks, steps=settings.steps, rng=rng, ticker=ticker, what=what)
    return _report(settings, measured)


@asynccontextmanager
async def _ways(settings: MachinesSettings, folder: Path) -> AsyncIterator[dict[str, Way]]:
    steps = settings.size.draw_tokens(settings.seed, settings.all_steps)
    ways: dict[str, Way] = {PLAIN: InThisProcess(PlainTrainer(folder, steps))}
    async with AsyncExitStack() as running:
        for processes in sorted({each.processes for each in settings.contests}):
            tasks = rank_tasks(settings.ranks, processes, "cpu", folder)
            ranks = await running.enter_async_context(torch_ranks(tasks, folder.parent, settings.reply_within))
            ways |= {
                each.torch: TorchWay(ranks, each.schedule) for each in settings.contests if each.processes == processes
            }
        for number, contest in enumerate(settings.contests):
            workers = WorkerProcesses(folder.parent / f"run-{number}")
            cut = contest.cut(settings.size.layers)
            way = _our_way(contest.schedule, cut, workers, folder, steps)
            ways[contest.ours] = await running.enter_async_context(way)
        yield ways


@asynccontextmanager
async def _our_way(
    schedule: str, cut: Sequence[int], workers: WorkerProcesses, folder: Path, steps: Steps
) -> AsyncIterator[Way]:
    plan = plan_on_one_machine(schedule, len(cut), len(steps[0]))
    compute = ThreadCompute()
    async with pipeline_trainer(folder, steps, plan, compute_of=lambda _: compute, deploy=workers, cut=cut) as trainer:
        yield InThisProcess(trainer)


def _report(settings: MachinesSettings, measured: Measured) -> Report:
    contests = settings.contests
    ratios = {each: measured.ratios(each.ours, each.torch) for each in contests}
    return Report(
        name="machines",
        title="Worker processes over mutual TLS",
        setup={
            **asdict(settings.size),
            "steps_per_repeat": settings.steps,
            "repeats": settings.repeats,
            "threads_of_each_process": _THREADS,
        },
        tables=(_speed_table(settings, measured), _paired_table(settings, measured)),
        goals=tuple(
            Goal(
                text=f"{each.ours}, unchecked, over torch.distributed.pipelining over gloo",
                limit=GOAL,
                measured=ratios[each].median,
                at_least=True,
            )
            for each in contests
        ),
        receipts=_receipts(settings, measured),
        notes=_NOTES,
        chart=Chart(
            title="Worker processes over mutual TLS, unchecked",
            x_label="tokens per second, torch.distributed.pipelining in the same repeat = 1",
            rows=tuple(ChartRow(each.ours, spread.values, True) for each, spread in ratios.items()),
            limits=((GOAL, f"goal: {GOAL:g} or more"),),
            form="{:.3f}",
        ),
    )


_NOTES = (
    "With P processes torch has P stages, one on each. Shieldwall's initiator holds the first and the last of P + 1"
    " stages, with as many layers in all as one of torch's ranks; the others are worker processes, which have dialled"
    " this one as any worker does. Every process computes with one thread; plain, in one process, too.",
    "All processes live through the whole run, ask the C library to keep freed memory, and wait for their turn: torch's"
    " without any work, ours with a sign of life four times a second.",
    "Torch talks by gloo over the loopback interface, in the clear. Shieldwall talks by gRPC over mutual TLS on the"
    " loopback interface, through the initiator where two workers talk to each other. Nothing is checked.",
    "Shieldwall's time is this process's, from the first order to the last report; torch's is that of its slowest rank"
    " by its own clock, from a barrier before the first step to the end of its last update.",
    "What pipelining leaves to its user is done for torch by hand: an all-reduce of the tied embedding's gradient, and"
    " one of the squared norms before clipping at 1.0.",
)


def _speed_table(settings: MachinesSettings, measured: Measured) -> Table:
    def row(name: str, processes: int) -> dict[str, Any]:
        cells = measured.speed_cells(name, PLAIN, settings.size.step_tokens)
        return {"variant": name, "processes": processes, **cells, "loss_difference": loss_difference(measured, name)}

    rows = [row(PLAIN, 1)]
    for each in settings.contests:
        rows += [row(each.ours, each.processes), row(each.torch, each.processes)]
    columns = (
        Column("variant", "variant"),
        Column("processes", "processes"),
        *SPEED_COLUMNS,
        Column("loss_difference", "loss against plain's, greatest relative difference", "{:.1e}"),
    )
    return Table("machines", "Tokens per second", columns, rows)


def _paired_table(settings: MachinesSettings, measured: Measured) -> Table:
    rows = [
        {
            "processes": each.processes,
            "schedule": each.schedule,
            **measured.ratios(each.ours, each.torch).to_json("ours_to_torch"),
        }
        for each in settings.contests
    ]
    columns = (
        Column("processes", "processes"),
        Column("schedule", "schedule"),
        Column("ours_to_torch_median", "shieldwall's tokens/s over torch's in the same repeat, median", "{:.3f}"),
        Column("ours_to_torch_min", "least", "{:.3f}"),
        Column("ours_to_torch_max", "most", "{:.3f}"),
    )
    return Table("machines_paired", "Against torch.distributed.pipelining, paired", columns, rows)


def _receipts(settings: MachinesSettings, measured: Measured) -> tuple[Receipt, ...]:
    plain = measured.losses[PLAIN]
    ours = [each.ours for each in settings.contests]
    theirs = [each.torch for each in settings.contests]
    count = min(FIRST_STEPS, len(plain))
    return (
        Receipt(
            f"the losses of {'; '.join(ours)} equal plain's, bit for bit, in each of {len(plain)} steps",
            all(measured.losses[name] == plain for name in ours),
        ),
        Receipt(
            f"the losses of {'; '.join(theirs)} are within {CPU_TOLERANCE:g} of plain's, relatively, in the first"
            f" {count} steps",
            all(loss_difference(measured, name, FIRST_STEPS) <= CPU_TOLERANCE for name in theirs),
        ),
    )
