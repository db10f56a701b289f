"""What a churned run adds up to: first and last figures of each process, and whether they are flat."""

from __future__ import annotations

from typing import Any

from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.churn.churned import Change, Churned
from shieldwall.lab.churn.samples import MEASURES, growth
from shieldwall.lab.record import Column, Goal, Receipt, Report, Table

MEMORY_RATIO, MORE_FILES, MORE_THREADS = 1.05, 3.0, 1.0
"""What still counts as flat from the second quarter of a run to the last."""

_GROWTH = (
    Column("who", "process"),
    Column("measure", "measure"),
    Column("first", "second quarter, median", "{:.1f}"),
    Column("last", "last quarter, median", "{:.1f}"),
    Column("slope", "per 100 steps", "{:+.3f}"),
)
_CHANGES = (Column("change", "a worker"), Column("count", "times"))


def make_report(found: Churned, undisturbed: str, setup: dict[str, Any]) -> Report:
    """Of a run, and the root of the weights of the same run left alone."""
    rows = []
    goals = []
    for who, samples in found.samples.items():
        for measure in MEASURES:
            grown = growth(samples, measure)
            rows.append(
                {"who": who, "measure": measure, "first": grown.first, "last": grown.last, "slope": grown.slope}
            )
            limit, measured = {
                "memory_mib": (MEMORY_RATIO, grown.ratio),
                "files": (MORE_FILES, grown.last - grown.first),
                "threads": (MORE_THREADS, grown.last - grown.first),
            }[measure]
            more = "last over second quarter" if measure == "memory_mib" else "more in the last than the second quarter"
            goals.append(Goal(text=f"{who}, {measure}: {more}", limit=limit, measured=measured, at_least=False))
    changes = [{"change": change.value, "count": found.changes.count(change)} for change in Change]
    changes.append({"change": "falls though nobody felled it, and is started again", "count": len(found.died)})
    return Report(
        name="churn",
        title="A long run whose workers come and go",
        setup={
            **setup,
            "changes": len(found.changes),
            "exit codes of workers that fell": found.died,
            "flat": "yes" if all(goal.met for goal in goals) else "NO",
        },
        tables=(
            Table("growth", "First and last", _GROWTH, rows),
            Table("changes", "Changes", _CHANGES, changes),
        ),
        goals=tuple(goals),
        receipts=(
            Receipt(
                "the run ended with the undisturbed weights",
                found.code == 0 and found.summary.get("weights_root") == undisturbed,
            ),
            Receipt("no step was lost", found.summary.get("steps_lost") == 0),
            Receipt("nobody was accused", found.summary.get("verdicts") == []),
            Receipt("every kind of change came", set(found.changes) == set(Change)),
        ),
        notes=(
            "Every half second both processes are looked at: resident memory, open files and sockets, threads.",
            "The first quarter of the looks is left out: in it a process takes what it needs once.",
            "A change is made up for when the initiator has given back what it had to take over; the next one comes no"
            " earlier.",
            "Each stranger is a further member of the run for good, with its key in every later view.",
        ),
        chart=Chart(
            title="Resident memory from the second quarter on, over its first median",
            x_label="ratio",
            rows=tuple(
                ChartRow(
                    who,
                    tuple(
                        sample.memory_mib / growth(samples, "memory_mib").first
                        for sample in samples[len(samples) // 4 :: max(1, len(samples) // 40)]
                    ),
                    True,
                )
                for who, samples in found.samples.items()
            ),
            limits=((MEMORY_RATIO, "counts as flat: at most"),),
        ),
    )
