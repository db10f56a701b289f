"""`python -m shieldwall.lab.bench --out docs/results`: throughput, memory, pacing, cost of checks, wire; measured here.

Throughput is measured in one process, and side by side with `torch.distributed.pipelining` in processes of its own;
`machines` has worker processes on our side too. `wire` sends frames over good and bad lines, `thin_links` trains there.
For each benchmark it writes NAME.json, NAME.md and NAME.png under `--out` and prints whether the goals were met. A goal
that was missed is a result; a receipt that does not hold means that the numbers mean nothing, and ends with code 1.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.errors import ShieldwallError
from shieldwall.lab.machines import Contest, MachinesSettings, measure_machines
from shieldwall.lab.memory import MemoryCase, measure_memory
from shieldwall.lab.pacing import PacedCase, measure_pacing, paced_cases
from shieldwall.lab.progress import BarTicker, Ticker
from shieldwall.lab.record import Origin, Report
from shieldwall.lab.shield_cost import ShieldCostSettings, ShieldSize, measure_shield_cost
from shieldwall.lab.shield_paced import PacedShieldCase, paced_shield_cases
from shieldwall.lab.side_by_side import SCHEDULES, SideBySideSettings, devices_here, measure_side_by_side
from shieldwall.lab.subject import Size
from shieldwall.lab.thin_links import WAYS as THIN_WAYS
from shieldwall.lab.thin_links import ThinLinksSettings, ThinWay, measure_thin_links
from shieldwall.lab.throughput import ThroughputSettings, measure_throughput
from shieldwall.lab.wire import WireSettings, measure_wire
from shieldwall.run.allocator import keep_freed_memory


class Scale(StrEnum):
    """How large everything is."""

    TINY = "tiny"
    """To see that the benchmarks work; the numbers say nothing."""
    SMALL = "small"
    """What the results are made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a scale stands for."""

    throughput: Size
    steps: int
    """Steps of one way in one repeat."""
    side_by_side: Size
    stages: tuple[int, ...]
    """Each K that is held against torch's own pipelining."""
    memory: tuple[MemoryCase, ...]
    pacing: tuple[PacedCase, ...]
    shield_sizes: tuple[ShieldSize, ...]
    shield: tuple[PacedShieldCase, ...]
    contests: tuple[Contest, ...]
    """What worker processes are held against."""
    wire_delays_ms: tuple[int, ...]
    wire_frame_bytes: tuple[int, ...]
    thin: Size
    thin_stages: int
    thin_ways: tuple[ThinWay, ...]


_MIB = 2**20
_TINY = Size(width=32, heads=2, vocabulary=64, block_tokens=16)
_BALANCED = MemoryCase(
    name="balanced",
    about="Activations and weights both matter",
    size=Size(width=512, heads=8),
    has_goal=True,
)
_WEIGHTS = MemoryCase(
    name="weights",
    about="Weights matter most: the price of building the new state beside the old",
    size=Size(width=512, heads=8, block_tokens=32, micro_batch_size=1),
    has_goal=False,
)
SCALES: Mapping[Scale, Sizes] = {
    Scale.TINY: Sizes(
        throughput=_TINY,
        steps=1,
        side_by_side=replace(_TINY, micro_batches=8, micro_batch_size=1),
        stages=(2,),
        memory=(MemoryCase(name="tiny", about="Libraries matter alone", size=_TINY, has_goal=True),),
        pacing=paced_cases()[:1],
        shield_sizes=(ShieldSize(size=_TINY, steps=1, has_goal=True),),
        shield=paced_shield_cases()[:1],
        contests=(Contest(2, "gpipe"),),
        wire_delays_ms=(0, 5),
        wire_frame_bytes=(_MIB // 16,),
        thin=_TINY,
        thin_stages=3,
        thin_ways=THIN_WAYS[::2][:2],
    ),
    Scale.SMALL: Sizes(
        throughput=Size(),
        steps=3,
        side_by_side=Size(micro_batches=8, micro_batch_size=1),
        stages=(2, 3, 6),
        memory=(_BALANCED, _WEIGHTS),
        pacing=paced_cases(),
        shield_sizes=(
            ShieldSize(size=Size(block_tokens=512), steps=1, has_goal=True),
            ShieldSize(size=Size(), steps=2, has_goal=False),
        ),
        shield=paced_shield_cases(),
        contests=tuple(Contest(processes, schedule) for processes in (2, 3) for schedule in SCHEDULES),
        wire_delays_ms=(0, 20, 80),
        wire_frame_bytes=(_MIB, 4 * _MIB, 8 * _MIB, 32 * _MIB),
        thin=Size(width=512, heads=8, block_tokens=256, micro_batches=8, micro_batch_size=1),
        thin_stages=4,
        thin_ways=THIN_WAYS,
    ),
}


class Benchmark(StrEnum):
    """What is measured."""

    THROUGHPUT = "throughput"
    MEMORY = "memory"
    PACING = "pacing"
    SHIELD_COST = "shield_cost"
    WIRE = "wire"
    MACHINES = "machines"
    THIN_LINKS = "thin_links"


def run_benchmarks(
    sizes: Sizes,
    origin: Origin,
    *,
    repeats: int,
    ticker: Ticker,
    done: Callable[[Report], None],
    only: Collection[Benchmark] = tuple(Benchmark),
) -> None:
    """Run the benchmarks and hand over each report as soon as it is there.

    Memory, pacing, the shield and thin lines are measured less often than throughput: they spread less, or take long.
    """
    fewer = max(1, min(3, repeats))
    throughput = ThroughputSettings(size=sizes.throughput, repeats=repeats, steps=sizes.steps, seed=origin.seed)
    beside = SideBySideSettings(
        size=sizes.side_by_side,
        stages=sizes.stages,
        repeats=repeats,
        steps=sizes.steps,
        seed=origin.seed,
        devices=devices_here(),
    )
    shield = ShieldCostSettings(
        sizes=sizes.shield_sizes,
        repeats=min(5, repeats),
        paced_repeats=fewer,
        paced=sizes.shield,
        seed=origin.seed,
    )
    if Benchmark.THROUGHPUT in only:
        in_one_process = asyncio.run(measure_throughput(throughput, ticker))
        done(in_one_process.with_section(asyncio.run(measure_side_by_side(beside, ticker))))
    if Benchmark.MEMORY in only:
        done(measure_memory(sizes.memory, repeats=fewer, seed=origin.seed, ticker=ticker))
    if Benchmark.PACING in only:
        done(asyncio.run(measure_pacing(sizes.pacing, repeats=fewer, seed=origin.seed, ticker=ticker)))
    if Benchmark.SHIELD_COST in only:
        keep_freed_memory()
        done(asyncio.run(measure_shield_cost(shield, ticker)))
    if Benchmark.WIRE in only:
        done(asyncio.run(measure_wire(_wire_settings(sizes, repeats, origin.seed), ticker)))
    if Benchmark.MACHINES in only:
        done(asyncio.run(measure_machines(_machines_settings(sizes, repeats, origin.seed), ticker)))
    if Benchmark.THIN_LINKS in only:
        done(asyncio.run(measure_thin_links(_thin_settings(sizes, fewer, origin.seed), ticker)))


def _wire_settings(sizes: Sizes, repeats: int, seed: int) -> WireSettings:
    return WireSettings(
        delays_ms=sizes.wire_delays_ms,
        frame_bytes=sizes.wire_frame_bytes,
        all_bytes=max(sizes.wire_frame_bytes),
        repeats=repeats,
        seed=seed,
    )


def _machines_settings(sizes: Sizes, repeats: int, seed: int) -> MachinesSettings:
    return MachinesSettings(
        size=sizes.side_by_side, contests=sizes.contests, repeats=repeats, steps=sizes.steps, seed=seed
    )


def _thin_settings(sizes: Sizes, repeats: int, seed: int) -> ThinLinksSettings:
    return ThinLinksSettings(
        size=sizes.thin, stages=sizes.thin_stages, ways=sizes.thin_ways, repeats=repeats, steps=1, seed=seed
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; made if it is not there.")],
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of the throughput benchmark.")] = 7,
    scale: Annotated[Scale, typer.Option(help="How large everything is; tiny only shows that it works.")] = Scale.SMALL,
    seed: Annotated[int, typer.Option(help="Of weights, tokens and orders.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Torch's threads.")] = 2,
    only: Annotated[list[Benchmark] | None, typer.Option(help="One benchmark; may be given several times.")] = None,
) -> None:
    """Measure throughput, memory, pacing, what checking costs, and the wire on this machine; takes some minutes."""
    command = " ".join(["python -m shieldwall.lab.bench", *sys.argv[1:]])
    origin = Origin(command=command, seed=seed, threads=threads)
    console = Console(stderr=True)
    reports: list[Report] = []

    def keep(report: Report) -> None:
        report.write(out, origin)
        reports.append(report)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with pinned_arithmetic(torch.device("cpu"), threads), Progress(*columns, console=console) as progress:
            ticker = BarTicker(progress)
            wanted = only or list(Benchmark)
            run_benchmarks(SCALES[scale], origin, repeats=repeats, ticker=ticker, done=keep, only=wanted)
    except ShieldwallError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    for report in reports:
        print("\n".join(report.verdicts()))
    if not all(report.sound for report in reports):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
