"""What a benchmark leaves behind: one JSON, one Markdown page and one picture with the same numbers.

A page is made from tables of raw numbers, so that nothing can stand in the text that is not in the JSON. Every page
says how it was made, on what, how much the numbers spread, and for each goal whether it was met or missed.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers

from shieldwall.core.files import write_whole
from shieldwall.lab.charts import Chart, draw_chart


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one thing, in the order in which they were made."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def to_json(self, name: str) -> dict[str, Any]:
        """Median, least, greatest and every single value, under keys that begin with `name`."""
        return {
            f"{name}_median": self.median,
            f"{name}_min": min(self.values),
            f"{name}_max": max(self.values),
            f"{name}_values": list(self.values),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A number that was promised and the number that was measured."""

    text: str
    limit: float
    measured: float
    at_least: bool
    """Whether more is better."""

    @property
    def met(self) -> bool:
        """Whether the measured number keeps the promise."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Receipt:
    """Something that had to hold for the numbers to mean anything, and whether it held."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Column:
    """Where a table's column gets its values from, its head, and the format of a cell."""

    key: str
    head: str
    form: str = "{}"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of raw numbers; a row may hold more than its columns show."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]

    def to_markdown(self) -> list[str]:
        """The title and the table, as lines."""
        lines = [f"## {self.title}", "", _line(column.head for column in self.columns)]
        lines.append(_line("---" for _ in self.columns))
        lines += [_line(_cell(column, row) for column in self.columns) for row in self.rows]
        return [*lines, ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a further measurement adds to a report."""

    setup: Mapping[str, Any]
    tables: tuple[Table, ...]
    receipts: tuple[Receipt, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How and on what numbers were made."""

    command: str
    seed: int
    threads: int
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: Mapping[str, Any] = field(default_factory=lambda: describe_machine())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One benchmark's outcome."""

    name: str
    title: str
    setup: Mapping[str, Any]
    tables: tuple[Table, ...]
    goals: tuple[Goal, ...]
    receipts: tuple[Receipt, ...]
    notes: tuple[str, ...]
    chart: Chart

    @property
    def sound(self) -> bool:
        """Whether every receipt holds."""
        return all(receipt.holds for receipt in self.receipts)

    def with_section(self, section: Section) -> Report:
        """This report, then `section`."""
        return replace(
            self,
            setup={**self.setup, **section.setup},
            tables=self.tables + section.tables,
            receipts=self.receipts + section.receipts,
            notes=self.notes + section.notes,
        )

    def verdicts(self) -> list[str]:
        """A line for each goal, and one for each receipt that does not hold."""
        broken = [f"receipt does **NOT** hold: {receipt.text}" for receipt in self.receipts if not receipt.holds]
        return [_goal_line(goal) for goal in self.goals] + broken

    def to_json(self, origin: Origin) -> dict[str, Any]:
        """Everything that the page says, as raw numbers."""
        return {
            "benchmark": self.name,
            "command": origin.command,
            "seed": origin.seed,
            "threads": origin.threads,
            "date": origin.date,
            "machine": dict(origin.machine),
            "setup": dict(self.setup),
            "goals": [goal.to_json() for goal in self.goals],
            "receipts": [asdict(receipt) for receipt in self.receipts],
            "notes": list(self.notes),
            **{table.name: [dict(row) for row in table.rows] for table in self.tables},
        }

    def to_markdown(self, origin: Origin) -> str:
        """The page."""
        lines = [f"# {self.title}", "", f"`{origin.command}`, seed {origin.seed}, {origin.date}", ""]
        lines += [f"- {line}" for line in self.verdicts()]
        lines += ["", f"![{self.title}]({self.name}.png)", ""]
        for table in self.tables:
            lines += table.to_markdown()
        lines += ["## How it was measured", "", *(f"- {note}" for note in self.notes)]
        lines += [f"- Receipt: {receipt.text}: {'yes' if receipt.holds else '**NO**'}." for receipt in self.receipts]
        lines += ["- Set-up: " + ", ".join(f"{key} {value}" for key, value in self.setup.items()) + "."]
        lines += [f"- Machine: {_machine_line(origin)}."]
        return "\n".join([*lines, ""])

    def write(self, out: Path, origin: Origin) -> list[Path]:
        """Write `NAME.json`, `NAME.md` and `NAME.png` under `out`, which is made if it is not there.

        Raises:
            StorageError: SW-S101; the disk refused.
        """
        out.mkdir(parents=True, exist_ok=True)
        contents = {
            "json": (json.dumps(self.to_json(origin), indent=2) + "\n").encode(),
            "md": self.to_markdown(origin).encode(),
            "png": draw_chart(self.chart),
        }
        paths = {out / f"{self.name}.{ending}": content for ending, content in contents.items()}
        for path, content in paths.items():
            write_whole(path, content)
        return list(paths)


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory and the versions that decide speed."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "load_at_start": round(psutil.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _machine_line(origin: Origin) -> str:
    machine = origin.machine
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, Python"
        f" {machine['python']}, torch {machine['torch']} with {origin.threads} threads, transformers"
        f" {machine['transformers']}, load {machine['load_at_start']} when the benchmark began"
    )


def _goal_line(goal: Goal) -> str:
    sign = ">=" if goal.at_least else "<="
    verdict = "met" if goal.met else "**MISSED**"
    return f"{goal.text}: {goal.measured:.3f}, goal {sign} {goal.limit:g}: {verdict}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    value = row.get(column.key)
    return "" if value is None else column.form.format(value)
