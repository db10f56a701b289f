"""The shield on hosts of their own, played at set speed: checks fill idle time, and the unchecked step is what counts.

Each pass takes a set time by a timer (as in `pacing.py`), so that six hosts fit on one machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.lab.apart import deploy_apart
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.pacing import MICRO_BATCHES, SIZE, STAGES, own_hosts
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Spread, Table
from shieldwall.lab.subject import Steps, Trainer, pipeline_trainer
from shieldwall.pipeline.compute import PacedCompute
from shieldwall.recovery.views import with_duplicates
from shieldwall.schedule import Host, StageCosts, When, chain_custody, make_plan, simulate, usual_hosts

COSTS = StageCosts(forward_s=(0.15,) * STAGES, backward_s=(0.3,) * STAGES)
"""Long against what six hosts in one process cost each other, about 2 ms at each pass."""
GOALS = {"gpipe": 1.16, "1f1b": 1.10}
"""By schedule: checked over unchecked step, every stage on a host of its own, settled before the commit."""


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


@dataclass(frozen=True, slots=True)
class PacedPair:
    """A checked plan and its unchecked twin at set speed: checked over unchecked seconds of a step."""

    case: PacedShieldCase
    simulated: float
    measured: Spread


def paced_shield_cases() -> tuple[PacedShieldCase, ...]:
    """Both schedules and dials; each stage on a host of its own, or both ends with the initiator."""
    places = (
        ("stages apart", chain_custody(own_hosts())),
        ("both ends on the initiator", with_duplicates(usual_hosts(STAGES))),
    )
    return tuple(
        PacedShieldCase(schedule, place, hosts, when, place == places[0][0] and when == "before_commit")
        for schedule in GOALS
        for place, hosts in places
        for when in get_args(When)
    )


async def measure_paced(cases: Sequence[PacedShieldCase], repeats: int, seed: int, ticker: Ticker) -> list[PacedPair]:
    """Each case against its unchecked twin. Cost: about ten seconds for each repeat of each.

    Args:
        cases: what is played.
        repeats: measured steps of each.
        seed: of weights and tokens.
        ticker: told of each case.
    """
    ticker.begin("the shield on paced hosts", len(cases))
    pairs = []
    with tempfile.TemporaryDirectory() as scratch, pinned_arithmetic(torch.device("cpu"), threads=1):
        folder, steps = Path(scratch) / "model", SIZE.draw_tokens(seed, repeats + 1)
        SIZE.write_model(seed, folder)
        for number, case in enumerate(cases):
            ledger = Path(scratch) / str(number)
            ledger.mkdir()
            pairs.append(await _measure_pair(case, folder, ledger, steps))
            ticker.tick()
    return pairs


async def _measure_pair(case: PacedShieldCase, folder: Path, ledger: Path, steps: Steps) -> PacedPair:
    """Steps of the checked and the unchecked plan in turns; the first of them only warms up."""
    bare = tuple(replace(host, duplicates=()) for host in case.hosts)
    checked = make_plan(case.schedule, STAGES, MICRO_BATCHES, case.hosts, COSTS, when=case.when)
    unchecked = make_plan(case.schedule, STAGES, MICRO_BATCHES, bare, COSTS)
    ratios = []
    async with AsyncExitStack() as stack:
        paced = PacedCompute(COSTS.seconds)
        both = [
            await stack.enter_async_context(
                pipeline_trainer(folder, steps, plan, compute_of=lambda _: paced, deploy=deploy_apart, ledger=path)
            )
            for plan, path in ((checked, ledger), (unchecked, None))
        ]
        for step in range(len(steps)):
            seconds = [await _timed(trainer, step) for trainer in both]
            ratios.append(seconds[0] / seconds[1])
    simulated = simulate(checked, COSTS).step_s / simulate(unchecked, COSTS).step_s
    return PacedPair(case, simulated, Spread(tuple(ratios[1:])))


async def _timed(trainer: Trainer, step: int) -> float:
    start = time.perf_counter()
    await trainer.train(step, step + 1)
    return time.perf_counter() - start


def paced_goals(pairs: Sequence[PacedPair]) -> list[Goal]:
    """What was promised: simulated and measured."""
    return [
        Goal(
            text=f"{pair.case.name}: {what} step over the unchecked one",
            limit=GOALS[pair.case.schedule],
            measured=value,
            at_least=False,
        )
        for pair in pairs
        if pair.case.has_goal
        for what, value in (("simulated", pair.simulated), ("paced", pair.measured.median))
    ]


def paced_table(pairs: Sequence[PacedPair]) -> Table:
    """A row for each case."""
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


def paced_chart(pairs: Sequence[PacedPair]) -> Chart:
    """Every measured step of each case."""
    return Chart(
        title="Checked over unchecked step, paced hosts",
        x_label="checked / unchecked",
        rows=tuple(ChartRow(pair.case.name, pair.measured.values, pair.case.has_goal) for pair in pairs),
        limits=tuple((limit, f"goal, {schedule}: {limit}") for schedule, limit in GOALS.items()),
        form="{:.3f}",
    )
