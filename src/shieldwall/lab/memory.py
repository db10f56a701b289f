"""Peak memory of a process that trains: plain training against the pipeline.

Each way trains in a process of its own (`memory_child.py`) and reports the most memory that was ever resident.
Nothing is subtracted in the ratios that count: the libraries are in, and so is this package where it is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.memory_child import STEPS, MemoryTask
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.subject import Size

GOAL = 1.10
_MIB = 2**20
_AT_A_TIME, _THREADS = 2, 1


class _Way(NamedTuple):
    name: str
    kind: str
    stages: int = 0
    schedule: str = ""
    keep: bool = False
    again: bool = False
    """With gradient checkpointing."""


_NOTHING = _Way("libraries imported, nothing built", "nothing")
_ACCUMULATION = _Way("plain, gradient accumulation", "accumulation")
_ALL_FORWARDS = _Way("plain, all forwards first", "all_forwards")
_PIPELINES = (
    _Way("shieldwall K=3 gpipe", "pipeline", 3, "gpipe", keep=True),
    _Way("shieldwall K=6 gpipe", "pipeline", 6, "gpipe", keep=True),
    _Way("shieldwall K=6 gpipe, allocator as it comes", "pipeline", 6, "gpipe"),
)
_CHECKPOINTED = (
    _Way("plain, all forwards first, gradient checkpointing", "all_forwards", again=True),
    _Way("shieldwall K=3 gpipe, gradient checkpointing", "pipeline", 3, "gpipe", keep=True, again=True),
    _Way("shieldwall K=6 gpipe, gradient checkpointing", "pipeline", 6, "gpipe", keep=True, again=True),
)
WAYS = (_NOTHING, _ACCUMULATION, _ALL_FORWARDS, *_PIPELINES, *_CHECKPOINTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCase:
    """A size at which memory is measured.

    Args:
        name: key of its table.
        about: what takes the memory at this size, in words.
        size: of model and step.
        has_goal: whether the promise is made for this size.
    """

    name: str
    about: str
    size: Size
    has_goal: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """What the processes of one case said, by the name of the way."""

    peak_mib: Mapping[str, Spread]
    losses: Mapping[str, list[list[float]]]

    def ratios(self, way: str, base: _Way, less: float = 0.0) -> Spread:
        """Peak of `way` over the median peak of `base`, both less `less` MiB."""
        below = self.peak_mib[base.name].median - less
        return Spread(tuple((peak - less) / below for peak in self.peak_mib[way].values))


def measure_memory(cases: Sequence[MemoryCase], *, repeats: int, seed: int, ticker: Ticker) -> Report:
    """Run the benchmark: for each case `repeats` processes of each way, each with one thread."""
    ticker.begin("memory", len(cases) * repeats * len(WAYS))
    found = {}
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            case.size.write_model(seed, folder)
            tasks = [_task(case.size, way, folder, seed) for way in WAYS]
            found[case.name] = _measure(tasks, repeats, ticker)
    return _report(cases, found, repeats)


def _task(size: Size, way: _Way, folder: Path, seed: int) -> MemoryTask:
    return MemoryTask(
        way=way.kind,
        folder=str(folder),
        vocabulary=size.vocabulary,
        shape=size.shape,
        seed=seed,
        threads=_THREADS,
        stages=way.stages,
        schedule=way.schedule,
        keep=way.keep,
        gradient_checkpointing=way.again,
    )


def _measure(tasks: Sequence[MemoryTask], repeats: int, ticker: Ticker) -> _Found:
    """Run every task `repeats` times, two processes at a time: a peak does not depend on who else computes."""
    peaks: dict[str, list[float]] = {way.name: [] for way in WAYS}
    losses: dict[str, list[list[float]]] = {way.name: [] for way in WAYS}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        answers = pool.map(_run_child, list(tasks) * repeats)
        for way, answer in zip(WAYS * repeats, answers, strict=True):
            peaks[way.name].append(answer["peak_bytes"] / _MIB)
            losses[way.name].append(answer["losses"])
            ticker.tick()
    return _Found({name: Spread(tuple(values)) for name, values in peaks.items()}, losses)


def _run_child(task: MemoryTask) -> dict[str, Any]:
    command = [sys.executable, "-m", "shieldwall.lab.memory_child", task.to_json()]
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _report(cases: Sequence[MemoryCase], found: Mapping[str, _Found], repeats: int) -> Report:
    sizes = {f"{case.name}_{key}": value for case in cases for key, value in asdict(case.size).items()}
    return Report(
        name="memory",
        title="Peak memory of one process",
        setup={**sizes, "steps": STEPS, "repeats": repeats},
        tables=tuple(_table(case, found[case.name]) for case in cases),
        goals=tuple(goal for case in cases if case.has_goal for goal in _goals(found[case.name])),
        receipts=tuple(_receipt(case, found[case.name]) for case in cases),
        notes=_NOTES,
        chart=_chart(cases[0], found[cases[0].name]),
    )


_NOTES = (
    "Each number is the most memory ever resident (`VmHWM`) in a process of its own that loads the model from a"
    f" folder, trains {STEPS} steps and ends.",
    f"The processes compute with {_THREADS} thread each, {_AT_A_TIME} of them at a time: a peak knows no speed.",
    "Ratios that count have nothing subtracted; those above the libraries have the median of a process that only"
    " imported torch and transformers taken off both sides.",
    "The pipeline keeps the graphs of all micro-batches as `plain, all forwards first` does, and in the"
    " update it builds the new weights and moments beside the old ones: seven times the weights in all, against four.",
    "The pipeline runs with the allocator's setting that the commands make (`run/allocator.py`), and once without;"
    " plain training runs with the allocator as it comes.",
    "Gradient checkpointing keeps the inputs of a stage (in plain training: of a layer) between forward and backward"
    " and computes the rest again; what that costs in time stands in throughput.md.",
    "The plain ways import nothing of this package but the training loop.",
)


def _goals(found: _Found) -> list[Goal]:
    return [
        Goal(
            text=f"{way.name}, peak against plain with all forwards first",
            limit=GOAL,
            measured=found.ratios(way.name, _ALL_FORWARDS).median,
            at_least=False,
        )
        for way in _PIPELINES
    ]


def _receipt(case: MemoryCase, found: _Found) -> Receipt:
    trained = [each for way in WAYS if way is not _NOTHING for each in found.losses[way.name]]
    same = all(losses == trained[0] and len(losses) == STEPS for losses in trained)
    return Receipt(f"losses of all {len(trained)} processes that trained are the same bits ({case.name})", same)


def _table(case: MemoryCase, found: _Found) -> Table:
    libraries = found.peak_mib[_NOTHING.name].median
    rows = [
        {
            "variant": name,
            **peak.to_json("peak_mib"),
            "to_all_forwards": found.ratios(name, _ALL_FORWARDS).median,
            "to_accumulation": found.ratios(name, _ACCUMULATION).median,
            "above_libraries_to_all_forwards": found.ratios(name, _ALL_FORWARDS, libraries).median,
            "above_libraries_to_accumulation": found.ratios(name, _ACCUMULATION, libraries).median,
        }
        for name, peak in found.peak_mib.items()
    ]
    columns = (
        Column("variant", "variant"),
        Column("peak_mib_median", "peak MiB, median", "{:,.0f}"),
        Column("peak_mib_min", "least", "{:,.0f}"),
        Column("peak_mib_max", "most", "{:,.0f}"),
        Column("to_all_forwards", "to all forwards first", "{:.3f}"),
        Column("to_accumulation", "to accumulation", "{:.3f}"),
        Column("above_libraries_to_all_forwards", "above libraries: to all forwards first", "{:.3f}"),
        Column("above_libraries_to_accumulation", "to accumulation", "{:.3f}"),
    )
    return Table(case.name, case.about, columns, rows)


def _chart(case: MemoryCase, found: _Found) -> Chart:
    pipelines = {way.name for way in _PIPELINES}
    return Chart(
        title=f"Peak memory of one process ({case.name})",
        x_label="MiB resident at most",
        rows=tuple(ChartRow(name, peak.values, name in pipelines) for name, peak in found.peak_mib.items()),
        limits=((GOAL * found.peak_mib[_ALL_FORWARDS.name].median, f"goal: {GOAL:.2f} x all forwards first, or less"),),
        from_zero=True,
        form="{:,.0f}",
    )
