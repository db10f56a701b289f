"""What the shield costs: against the compute that it must repeat, and on hosts of their own against no checks.

In one process the duplicates cannot hide: the same passes run without any guard, court or ledger are what must be paid,
and the shield is held against that, in turns within the same repeat. Hashing, signing, verifying and the ledger are
read from Python's profiler. On hosts of their own (paced, as in `pacing.py`) checks fill idle time, and what counts is
the step against the unchecked one.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.apart import deploy_apart
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.interleaved import SPEED_COLUMNS, InThisProcess, Measured, measure_in_turns
from shieldwall.lab.overhead import Part, StepProfile, profile_steps
from shieldwall.lab.pacing import EQUAL, MICRO_BATCHES, SIZE, STAGES, own_hosts
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.subject import Size, Steps, Trainer, pipeline_trainer, plan_on_one_machine
from shieldwall.pipeline.compute import PacedCompute
from shieldwall.recovery.views import with_duplicates
from shieldwall.schedule import Host, When, chain_custody, make_plan, simulate, usual_hosts

REPEAT_GOAL, PARTS_GOAL = 1.05, 0.05
PACED_GOALS = {"gpipe": 1.16, "1f1b": 1.10}
_WHENS: tuple[When, ...] = ("before_commit", "before_use")
_SCHEDULES = ("gpipe", "1f1b")
_UNCHECKED, _BARE = "unchecked", "duplicates alone"
_PROFILED = "gpipe, shield before_commit"
PARTS = (
    Part("hashing", (("core/tensor_roots.py", "tensor_root"),)),
    Part("signing", (("core/signing.py", "sign"),)),
    Part("verifying signatures", (("core/signing.py", "verifies"),)),
    Part("ledger", (("ledger/writer.py", "append"), ("ledger/writer.py", "commit_step"))),
)


@dataclass(frozen=True, slots=True)
class PacedShieldCase:
    """A checked plan to be played at set speed, and held against the unchecked one.

    Args:
        schedule: policy.
        place: where the stages are, in words.
        hosts: who holds which stage and which duplicate.
        when: the dial.
        has_goal: whether a goal was set for it.
    """

    schedule: str
    place: str
    hosts: tuple[Host, ...]
    when: When
    has_goal: bool

    @property
    def name(self) -> str:
        """What is special about it, in words."""
        return f"{self.schedule}, {self.when}, {self.place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShieldCostSettings:
    """How much is measured.

    Args:
        size: of the model and a step.
        repeats: of every way.
        steps: of one way in one repeat.
        paced_repeats: measured steps of each paced case.
        paced: schedule, place and dial of each paced case.
        seed: of weights, tokens and the order of the ways.
    """

    size: Size
    repeats: int
    steps: int
    paced_repeats: int
    paced: Sequence[PacedShieldCase]
    seed: int

    @property
    def all_steps(self) -> int:
        """Steps that every way trains: one chunk to warm up, `repeats`, and one that is profiled."""
        return self.steps * (self.repeats + 2)


@dataclass(frozen=True, slots=True)
class PacedPair:
    """A checked plan and its unchecked twin at set speed: checked over unchecked seconds of a step."""

    case: PacedShieldCase
    simulated: float
    measured: Spread


async def measure_shield_cost(settings: ShieldCostSettings, ticker: Ticker) -> Report:
    """Run the benchmark. Cost: `all_steps` steps of eight ways, and two paced steps a second."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        settings.size.write_model(settings.seed, folder)
        steps = settings.size.draw_tokens(settings.seed, settings.all_steps)
        async with _trainers(folder, steps, Path(scratch)) as trainers:
            rng = random.Random(derive_seed("benchmark order", settings.seed))
            ways = {name: InThisProcess(trainer) for name, trainer in trainers.items()}
            chunks = range(settings.repeats + 1)
            measured = await measure_in_turns(
                ways, chunks, steps=settings.steps, rng=rng, ticker=ticker, what="the shield in one process"
            )
            last = settings.all_steps
            profile = await profile_steps(trainers[_PROFILED], last - settings.steps, last, PARTS)
    pairs = await _measure_paced(settings, ticker)
    return _report(settings, measured, profile, pairs)


@asynccontextmanager
async def _trainers(folder: Path, steps: Steps, scratch: Path) -> AsyncIterator[dict[str, Trainer]]:
    trainers: dict[str, Trainer] = {}
    async with AsyncExitStack() as deployments:
        for schedule in _SCHEDULES:
            ways: list[tuple[str, When | None, bool]] = [(_UNCHECKED, None, False), (_BARE, "before_commit", False)]
            ways += [(f"shield {when}", when, True) for when in _WHENS]
            for name, when, checked in ways:
                plan = plan_on_one_machine(schedule, STAGES, len(steps[0]), when)
                ledger = scratch / f"{schedule}-{name}" if checked else None
                if ledger:
                    ledger.mkdir()
                trainer = pipeline_trainer(folder, steps, plan, ledger=ledger)
                trainers[f"{schedule}, {name}"] = await deployments.enter_async_context(trainer)
        yield trainers


def paced_shield_cases() -> tuple[PacedShieldCase, ...]:
    """Both schedules and dials; each stage on a host of its own, or both ends with the initiator."""
    places = (
        ("stages apart", chain_custody(own_hosts())),
        ("both ends on the initiator", with_duplicates(usual_hosts(STAGES))),
    )
    return tuple(
        PacedShieldCase(schedule, place, hosts, when, place == places[0][0] and when == "before_commit")
        for schedule in _SCHEDULES
        for place, hosts in places
        for when in _WHENS
    )


async def _measure_paced(settings: ShieldCostSettings, ticker: Ticker) -> list[PacedPair]:
    ticker.begin("the shield on paced hosts", len(settings.paced))
    pairs = []
    with tempfile.TemporaryDirectory() as scratch, pinned_arithmetic(torch.device("cpu"), threads=1):
        folder = Path(scratch) / "model"
        SIZE.write_model(settings.seed, folder)
        for number, case in enumerate(settings.paced):
            ledger = Path(scratch) / str(number)
            ledger.mkdir()
            pairs.append(await _measure_pair(case, folder, ledger, settings))
            ticker.tick()
    return pairs


async def _measure_pair(case: PacedShieldCase, folder: Path, ledger: Path, settings: ShieldCostSettings) -> PacedPair:
    """Steps of the checked and the unchecked plan in turns."""
    count = settings.paced_repeats + 1
    steps = SIZE.draw_tokens(settings.seed, count)
    bare = tuple(replace(host, duplicates=()) for host in case.hosts)
    checked = make_plan(case.schedule, STAGES, MICRO_BATCHES, case.hosts, EQUAL, when=case.when)
    unchecked = make_plan(case.schedule, STAGES, MICRO_BATCHES, bare, EQUAL)
    ratios = []
    async with AsyncExitStack() as stack:
        paced = PacedCompute(EQUAL.seconds)
        both = [
            await stack.enter_async_context(
                pipeline_trainer(folder, steps, plan, compute_of=lambda _: paced, deploy=deploy_apart, ledger=path)
            )
            for plan, path in ((checked, ledger), (unchecked, None))
        ]
        for step in range(count):
            seconds = [await _timed(trainer, step) for trainer in both]
            ratios.append(seconds[0] / seconds[1])
    simulated = simulate(checked, EQUAL).step_s / simulate(unchecked, EQUAL).step_s
    return PacedPair(case, simulated, Spread(tuple(ratios[1:])))


async def _timed(trainer: Trainer, step: int) -> float:
    start = time.perf_counter()
    await trainer.train(step, step + 1)
    return time.perf_counter() - start


def _report(
    settings: ShieldCostSettings, measured: Measured, profile: StepProfile, pairs: Sequence[PacedPair]
) -> Report:
    share = sum(profile.part_ms[part.name] for part in PARTS) / profile.total_ms
    repeated = {
        schedule: Spread(
            tuple(
                ours / bare
                for ours, bare in zip(
                    measured.seconds[f"{schedule}, shield before_commit"],
                    measured.seconds[f"{schedule}, {_BARE}"],
                    strict=True,
                )
            )
        )
        for schedule in _SCHEDULES
    }
    goals = [
        Goal(
            text=f"{schedule}, before_commit in one process: step over the compute that must be repeated",
            limit=REPEAT_GOAL,
            measured=spread.median,
            at_least=False,
        )
        for schedule, spread in repeated.items()
    ]
    goals.append(
        Goal(
            text=f"hashing, signing, verifying and ledger together, share of a step ({_PROFILED})",
            limit=PARTS_GOAL,
            measured=share,
            at_least=False,
        )
    )
    goals += [
        Goal(
            text=f"{pair.case.name}: {what} step over the unchecked one",
            limit=PACED_GOALS[pair.case.schedule],
            measured=value,
            at_least=False,
        )
        for pair in pairs
        if pair.case.has_goal
        for what, value in (("simulated", pair.simulated), ("paced", pair.measured.median))
    ]
    base = {schedule: measured.losses[f"{schedule}, {_UNCHECKED}"] for schedule in _SCHEDULES}
    return Report(
        name="shield_cost",
        title="What the shield costs",
        setup={**asdict(settings.size), "steps_per_repeat": settings.steps, "repeats": settings.repeats},
        tables=(
            _ways_table(settings, measured),
            _repeat_table(repeated),
            _parts_table(profile),
            _paced_table(pairs),
        ),
        goals=tuple(goals),
        receipts=tuple(
            Receipt(
                f"{schedule}: the losses of all ways are the unchecked run's, bit for bit",
                all(losses == base[schedule] for name, losses in measured.losses.items() if name.startswith(schedule)),
            )
            for schedule in _SCHEDULES
        ),
        notes=_NOTES,
        chart=_chart(pairs),
    )


_NOTES = (
    "Duplicates alone play the checked plan, update included, without guards, court and ledger: what must be repeated.",
    "Hashing, signing, verifying and the ledger were timed under Python's profiler, which makes Python code look slower"
    " than it is.",
    "Paced hosts: F = 40 ms, B = 80 ms, each pass by a timer; checked and unchecked steps in turns.",
)


def _ways_table(settings: ShieldCostSettings, measured: Measured) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "variant": name,
            **measured.speed_cells(name, f"{name.split(',')[0]}, {_UNCHECKED}", settings.size.step_tokens),
        }
        for name in measured.seconds
    ]
    columns = (Column("variant", "variant"), *SPEED_COLUMNS)
    return Table("ways", "One process, K = 6; plain is the unchecked pipeline of the same schedule", columns, rows)


def _repeat_table(repeated: Mapping[str, Spread]) -> Table:
    rows: list[dict[str, Any]] = [
        {"schedule": schedule, **spread.to_json("ratio")} for schedule, spread in repeated.items()
    ]
    columns = (
        Column("schedule", "schedule"),
        Column("ratio_median", "shield over duplicates alone, median", "{:.3f}"),
        Column("ratio_min", "least", "{:.3f}"),
        Column("ratio_max", "most", "{:.3f}"),
    )
    return Table("repeat", "Step time over the compute that must be repeated, before_commit", columns, rows)


def _parts_table(profile: StepProfile) -> Table:
    rows: list[dict[str, Any]] = [
        {"part": part.name, "ms": profile.part_ms[part.name], "share": profile.part_ms[part.name] / profile.total_ms}
        for part in PARTS
    ]
    rows.append({"part": "whole step", "ms": profile.total_ms, "share": 1.0})
    columns = (Column("part", "part"), Column("ms", "ms a step", "{:.2f}"), Column("share", "share", "{:.1%}"))
    return Table("parts", f"Where the shield's own time goes ({_PROFILED})", columns, rows)


def _paced_table(pairs: Sequence[PacedPair]) -> Table:
    rows: list[dict[str, Any]] = [
        {"case": pair.case.name, "simulated": pair.simulated, **pair.measured.to_json("measured")} for pair in pairs
    ]
    columns = (
        Column("case", "case"),
        Column("simulated", "simulated", "{:.3f}"),
        Column("measured_median", "measured, median", "{:.3f}"),
        Column("measured_min", "least", "{:.3f}"),
        Column("measured_max", "most", "{:.3f}"),
    )
    title = f"Paced hosts, K = {STAGES}, M = {MICRO_BATCHES}: step over the unchecked step"
    return Table("paced", title, columns, rows)


def _chart(pairs: Sequence[PacedPair]) -> Chart:
    return Chart(
        title="Checked over unchecked step, paced hosts",
        x_label="checked / unchecked",
        rows=tuple(ChartRow(pair.case.name, pair.measured.values, pair.case.has_goal) for pair in pairs),
        limits=tuple((limit, f"goal, {schedule}: {limit}") for schedule, limit in PACED_GOALS.items()),
        form="{:.3f}",
    )
