"""What the shield costs: against the compute that it must repeat, and on hosts of their own against no checks.

In one process the duplicates cannot hide: the same passes run without any guard, court or ledger are what must be paid,
and the shield is held against that, in turns within the same repeat. States are hashed once a step however many tokens
it has, so the size of a step decides; two are measured. Hashing, signing, verifying and the ledger are read from
Python's profiler. On hosts of their own (`shield_paced.py`) checks fill idle time.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.interleaved import SPEED_COLUMNS, InThisProcess, Measured, measure_in_turns
from shieldwall.lab.overhead import Part, StepProfile, profile_steps
from shieldwall.lab.pacing import STAGES
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.shield_paced import GOALS, PacedShieldCase, measure_paced, paced_chart, paced_goals, paced_table
from shieldwall.lab.subject import Size, Steps, Trainer, pipeline_trainer, plan_on_one_machine
from shieldwall.schedule import When

REPEAT_GOAL, PARTS_GOAL = 1.05, 0.05
_UNCHECKED, _BARE, _CHECKED = "unchecked", "duplicates alone", "shield before_commit"
PARTS = (
    Part("hashing", (("core/tensor_roots.py", "tensor_root"),)),
    Part("signing", (("core/signing.py", "sign"),)),
    Part("verifying signatures", (("core/signing.py", "verifies"),)),
    Part("ledger", (("ledger/writer.py", "append"), ("ledger/writer.py", "commit_step"))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShieldSize:
    """A size at which the shield is held against the compute that it must repeat.

    Args:
        size: of the model and a step.
        steps: of one way in one repeat.
        has_goal: whether a goal was set for it.
    """

    size: Size
    steps: int
    has_goal: bool

    @property
    def name(self) -> str:
        """Its tokens, in words."""
        micro_batches, sequences, tokens = self.size.shape
        return f"{self.size.step_tokens:,} tokens a step ({micro_batches} x {sequences} x {tokens})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShieldCostSettings:
    """How much is measured.

    Args:
        sizes: of steps in one process.
        repeats: of every way.
        paced_repeats: measured steps of each paced case.
        paced: schedule, place and dial of each paced case.
        seed: of weights, tokens and the order of the ways.
    """

    sizes: Sequence[ShieldSize]
    repeats: int
    paced_repeats: int
    paced: Sequence[PacedShieldCase]
    seed: int


@dataclass(frozen=True, slots=True)
class _InOneProcess:
    """Every way at one size, and where the shield's own time goes, by schedule."""

    of: ShieldSize
    measured: Measured
    profiles: Mapping[str, StepProfile]

    def repeated(self, schedule: str) -> Spread:
        """Checked steps over steps with duplicates alone, repeat by repeat."""
        return self.measured.ratios(f"{schedule}, {_BARE}", f"{schedule}, {_CHECKED}")

    def share(self, schedule: str) -> float:
        """What hashing, signing, verifying and the ledger take of a step, all together."""
        profile = self.profiles[schedule]
        return sum(profile.part_ms[part.name] for part in PARTS) / profile.total_ms


async def measure_shield_cost(settings: ShieldCostSettings, ticker: Ticker) -> Report:
    """Run the benchmark. Cost: at each size `repeats` + 2 chunks of eight ways; then the paced cases."""
    with pinned_arithmetic(torch.device("cpu"), threads=1):
        measured = [await _measure_size(each, settings.repeats, settings.seed, ticker) for each in settings.sizes]
    pairs = await measure_paced(settings.paced, settings.paced_repeats, settings.seed, ticker)
    goals = [goal for each in measured if each.of.has_goal for goal in _goals(each)]
    return Report(
        name="shield_cost",
        title="What the shield costs",
        setup={"sizes": [each.name for each in settings.sizes], "stages": STAGES, "repeats": settings.repeats},
        tables=(
            *(_ways_table(each) for each in measured),
            _repeat_table(measured),
            *(_parts_table(each) for each in measured),
            paced_table(pairs),
        ),
        goals=(*goals, *paced_goals(pairs)),
        receipts=tuple(receipt for each in measured for receipt in _receipts(each)),
        notes=_NOTES,
        chart=paced_chart(pairs),
    )


_NOTES = (
    "Duplicates alone play the checked plan, update included, without guards, court and ledger: what must be repeated.",
    "Torch computes with one thread here: with two on two shared cores, pairs of equal steps differ by a quarter.",
    "A step's states are hashed once however many tokens it has: the fewer tokens, the more the shield weighs. No goal"
    " was set for the smaller step.",
    "Hashing, signing, verifying and the ledger were timed under Python's profiler, which makes Python code look slower"
    " than it is.",
    "Paced hosts: F = 150 ms, B = 300 ms, each pass by a timer; checked and unchecked steps in turns.",
)


async def _measure_size(of: ShieldSize, repeats: int, seed: int, ticker: Ticker) -> _InOneProcess:
    """One chunk to warm up, `repeats`, and one that is profiled."""
    last = of.steps * (repeats + 2)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        of.size.write_model(seed, folder)
        async with _trainers(folder, of.size.draw_tokens(seed, last), Path(scratch)) as trainers:
            measured = await measure_in_turns(
                {name: InThisProcess(trainer) for name, trainer in trainers.items()},
                range(repeats + 1),
                steps=of.steps,
                rng=random.Random(derive_seed("benchmark order", seed)),
                ticker=ticker,
                what=f"the shield in one process, {of.name}",
            )
            profiles = {
                schedule: await profile_steps(trainers[f"{schedule}, {_CHECKED}"], last - of.steps, last, PARTS)
                for schedule in GOALS
            }
    return _InOneProcess(of, measured, profiles)


@asynccontextmanager
async def _trainers(folder: Path, steps: Steps, scratch: Path) -> AsyncIterator[dict[str, Trainer]]:
    trainers: dict[str, Trainer] = {}
    async with AsyncExitStack() as deployments:
        for schedule in GOALS:
            ways: list[tuple[str, When | None, bool]] = [(_UNCHECKED, None, False), (_BARE, "before_commit", False)]
            ways += [(f"shield {when}", when, True) for when in get_args(When)]
            for name, when, checked in ways:
                plan = plan_on_one_machine(schedule, STAGES, len(steps[0]), when)
                ledger = scratch / f"{schedule}-{name}" if checked else None
                if ledger:
                    ledger.mkdir()
                trainer = pipeline_trainer(folder, steps, plan, ledger=ledger)
                trainers[f"{schedule}, {name}"] = await deployments.enter_async_context(trainer)
        yield trainers


def _goals(each: _InOneProcess) -> list[Goal]:
    return [
        Goal(text=f"{schedule}, before_commit, {each.of.name}: {text}", limit=limit, measured=value, at_least=False)
        for schedule in GOALS
        for text, limit, value in (
            ("step over the compute that must be repeated", REPEAT_GOAL, each.repeated(schedule).median),
            ("hashing, signing, verifying and ledger together, share of a step", PARTS_GOAL, each.share(schedule)),
        )
    ]


def _receipts(each: _InOneProcess) -> list[Receipt]:
    losses = each.measured.losses
    return [
        Receipt(
            f"{schedule}, {each.of.name}: the losses of all ways are the unchecked run's, bit for bit",
            all(
                mine == losses[f"{schedule}, {_UNCHECKED}"]
                for name, mine in losses.items()
                if name.startswith(schedule)
            ),
        )
        for schedule in GOALS
    ]


def _ways_table(each: _InOneProcess) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "variant": name,
            **each.measured.speed_cells(name, f"{name.split(',')[0]}, {_UNCHECKED}", each.of.size.step_tokens),
        }
        for name in each.measured.seconds
    ]
    columns = (Column("variant", "variant"), *SPEED_COLUMNS)
    title = f"One process, K = {STAGES}, {each.of.name}; plain is the unchecked pipeline of the same schedule"
    return Table(f"ways_{each.of.size.step_tokens}", title, columns, rows)


def _repeat_table(measured: Sequence[_InOneProcess]) -> Table:
    rows: list[dict[str, Any]] = [
        {"size": each.of.name, "schedule": schedule, **each.repeated(schedule).to_json("ratio")}
        for each in measured
        for schedule in GOALS
    ]
    columns = (
        Column("size", "size"),
        Column("schedule", "schedule"),
        Column("ratio_median", "shield over duplicates alone, median", "{:.3f}"),
        Column("ratio_min", "least", "{:.3f}"),
        Column("ratio_max", "most", "{:.3f}"),
    )
    return Table("repeat", "Step time over the compute that must be repeated, before_commit", columns, rows)


def _parts_table(each: _InOneProcess) -> Table:
    rows: list[dict[str, Any]] = []
    for schedule, profile in each.profiles.items():
        parts = {part.name: profile.part_ms[part.name] for part in PARTS} | {"whole step": profile.total_ms}
        rows += [
            {"schedule": schedule, "part": part, "ms": ms, "share": ms / profile.total_ms} for part, ms in parts.items()
        ]
    columns = (
        Column("schedule", "schedule"),
        Column("part", "part"),
        Column("ms", "ms a step", "{:.2f}"),
        Column("share", "share", "{:.1%}"),
    )
    title = f"Where the shield's own time goes, before_commit, {each.of.name}"
    return Table(f"parts_{each.of.size.step_tokens}", title, columns, rows)
