"""Predicted against measured: hosts whose passes last a set time, against the simulated step.

Every host has a processor of its own in the plan and paces itself (`PacedCompute`): a pass takes as long as the costs
say, while its real work, on a model so small that it hardly counts, is done on the way. All hosts share one event
loop, one machine and the memory transport, so what the measured step takes longer is orders, messages and the update.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.lab.apart import deploy_apart
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.subject import Size, pipeline_trainer
from shieldwall.pipeline.compute import PacedCompute
from shieldwall.schedule import Action, Host, Plan, StageCosts, make_plan, simulate, usual_hosts

GOAL = 0.10
STAGES, MICRO_BATCHES = 6, 4
SIZE = Size(
    family="llama",
    layers=STAGES,
    width=16,
    heads=2,
    vocabulary=64,
    block_tokens=8,
    micro_batches=MICRO_BATCHES,
    micro_batch_size=1,
)
EQUAL = StageCosts(forward_s=(0.040,) * STAGES, backward_s=(0.080,) * STAGES)
UNEVEN = StageCosts(
    forward_s=(0.030, 0.045, 0.060, 0.040, 0.055, 0.035), backward_s=(0.060, 0.100, 0.110, 0.085, 0.120, 0.070)
)


@dataclass(frozen=True, slots=True)
class PacedCase:
    """A plan to be played at set speed.

    Args:
        name: what is special about it, in words.
        schedule: policy.
        costs: seconds of each pass.
        hosts: who holds which stage.
    """

    name: str
    schedule: str
    costs: StageCosts
    hosts: tuple[Host, ...]

    @property
    def plan(self) -> Plan:
        """The plan that is simulated and played."""
        return make_plan(self.schedule, STAGES, MICRO_BATCHES, self.hosts, self.costs)


@dataclass(frozen=True, slots=True)
class PacedResult:
    """Predicted and measured seconds of a step."""

    case: PacedCase
    simulated_s: float
    measured: Spread
    passes: float
    """Paced passes in a measured step."""

    @property
    def differences(self) -> Spread:
        """Measured over simulated, less one."""
        return Spread(tuple(seconds / self.simulated_s - 1.0 for seconds in self.measured.values))


def own_hosts() -> tuple[Host, ...]:
    """Each stage on a host of its own."""
    return tuple(Host("initiator" if stage == 0 else f"worker-{stage}", (stage,)) for stage in range(STAGES))


def paced_cases() -> tuple[PacedCase, ...]:
    """Both schedules, equal and uneven costs, each stage on a host of its own and the usual hosts."""
    places = {"stages apart": own_hosts(), "both ends on the initiator": usual_hosts(STAGES)}
    prices = {"equal": EQUAL, "uneven": UNEVEN}
    return tuple(
        PacedCase(f"{schedule}, {price}, {place}", schedule, costs, hosts)
        for schedule in ("gpipe", "1f1b")
        for price, costs in prices.items()
        for place, hosts in places.items()
    )


async def measure_case(case: PacedCase, folder: Path, repeats: int, seed: int) -> PacedResult:
    """Play a case `repeats` times after one step to warm up.

    Args:
        case: what to play.
        folder: a model of `SIZE`.
        repeats: measured steps.
        seed: of the tokens.
    """
    plan, steps = case.plan, SIZE.draw_tokens(seed, repeats + 1)
    seconds: list[float] = []
    passes = 0

    def pace(action: Action) -> float:
        nonlocal passes
        passes += 1
        return case.costs.seconds(action)

    trained = pipeline_trainer(folder, steps, plan, compute_of=lambda _: PacedCompute(pace), deploy=deploy_apart)
    async with trained as trainer:
        for step in range(repeats + 1):
            start = time.perf_counter()
            await trainer.train(step, step + 1)
            seconds.append(time.perf_counter() - start)
    return PacedResult(case, simulate(plan, case.costs).step_s, Spread(tuple(seconds[1:])), passes / (repeats + 1))


async def measure_pacing(cases: Sequence[PacedCase], *, repeats: int, seed: int, ticker: Ticker) -> Report:
    """Run the benchmark. Cost: for the default cases 1 to 2 s a step, `repeats + 1` steps each."""
    ticker.begin("pacing", len(cases))
    results = []
    with tempfile.TemporaryDirectory() as scratch, pinned_arithmetic(torch.device("cpu"), threads=1):
        folder = Path(scratch) / "model"
        SIZE.write_model(seed, folder)
        for case in cases:
            results.append(await measure_case(case, folder, repeats, seed))
            ticker.tick()
    return _report(results, repeats)


_NOTES = (
    "Every host has a processor of its own in the plan; each of its passes lasts exactly what the costs say, by a"
    " timer. The model is so small that its real work hardly counts.",
    "Torch computes with one thread here: for so small a model a second one only waits.",
    "The measured time is the whole step as a run sees it: orders, passes, messages, norms, prepare and commit. The"
    " simulation knows only passes and messages.",
    "The model is a Llama whose head is not tied to its embeddings, so that both ends can be on different hosts; a run"
    " always has both on the initiator's.",
    "Costs are seconds of one micro-batch at each stage; messages are predicted to take no time.",
)


def _report(results: Sequence[PacedResult], repeats: int) -> Report:
    prices = {
        f"{name}_{key}": value
        for name, costs in (("equal", EQUAL), ("uneven", UNEVEN))
        for key, value in asdict(costs).items()
    }
    return Report(
        name="pacing",
        title="Simulated against measured step time",
        setup={"stages": STAGES, "micro_batches": MICRO_BATCHES, **prices, **asdict(SIZE), "repeats": repeats},
        tables=(_table(results),),
        goals=(_goal(results),),
        receipts=(
            Receipt(
                f"every step paced all {2 * STAGES * MICRO_BATCHES} passes",
                all(result.passes == 2 * STAGES * MICRO_BATCHES for result in results),
            ),
        ),
        notes=_NOTES,
        chart=_chart(results),
    )


def _goal(results: Sequence[PacedResult]) -> Goal:
    worst = max(results, key=lambda result: abs(result.differences.median))
    return Goal(
        text=f"largest difference of a median from the simulation ({worst.case.name})",
        limit=GOAL,
        measured=abs(worst.differences.median),
        at_least=False,
    )


def _table(results: Sequence[PacedResult]) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "case": result.case.name,
            "simulated_s": result.simulated_s,
            **result.measured.to_json("measured_s"),
            **result.differences.to_json("difference"),
            "within_goal": abs(result.differences.median) <= GOAL,
        }
        for result in results
    ]
    columns = (
        Column("case", "case"),
        Column("simulated_s", "simulated s", "{:.3f}"),
        Column("measured_s_median", "measured s, median", "{:.3f}"),
        Column("measured_s_min", "least", "{:.3f}"),
        Column("measured_s_max", "most", "{:.3f}"),
        Column("difference_median", "difference, median", "{:+.1%}"),
        Column("difference_min", "least", "{:+.1%}"),
        Column("difference_max", "most", "{:+.1%}"),
        Column("within_goal", "within 10 %"),
    )
    return Table("cases", f"A step of K = {STAGES}, M = {MICRO_BATCHES}", columns, rows)


def _chart(results: Sequence[PacedResult]) -> Chart:
    return Chart(
        title="Measured step time against the simulated one, paced hosts",
        x_label="measured / simulated",
        rows=tuple(
            ChartRow(result.case.name, tuple(1.0 + each for each in result.differences.values), True)
            for result in results
        ),
        limits=((1.0 - GOAL, "goal: within 10 %"), (1.0 + GOAL, "")),
        form="{:.3f}",
    )
