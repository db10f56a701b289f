"""What disturbed runs add up to: one table by kind of fault and one of the runs, held against what is promised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table

NOTICED_S, TRAINED_ON_S = 2.0, 10.0

_FAULTS = (
    Column("fault", "fault"),
    Column("count", "times"),
    Column("noticed_s_median", "noticed after s, median", "{:.2f}"),
    Column("noticed_s_max", "worst", "{:.2f}"),
    Column("trained_on_s_median", "next step committed after s, median", "{:.2f}"),
    Column("trained_on_s_max", "worst", "{:.2f}"),
)
_RUNS = (
    Column("number", "run"),
    Column("topology", "topology"),
    Column("faults", "faults"),
    Column("steps", "steps"),
    Column("steps_lost", "steps lost"),
    Column("verdicts", "verdicts"),
    Column("same_weights", "same weights as undisturbed"),
)


def make_report(name: str, title: str, runs: Sequence[dict[str, Any]], setup: dict[str, Any]) -> Report:
    """Of runs as `runs.py` leaves them in its journal."""
    faults = [row for run in runs for row in run["faults"]]
    noticed = [row["noticed_s"] for row in faults]
    trained_on = [row["trained_on_s"] for row in faults]
    return Report(
        name=name,
        title=title,
        setup=setup,
        tables=(
            Table("by_fault", "By what happened, and when", _FAULTS, list(_by_fault(faults))),
            Table("runs", "Runs", _RUNS, [{**run, "faults": len(run["faults"])} for run in runs]),
        ),
        goals=(
            Goal(text="noticed after s, worst", limit=NOTICED_S, measured=max(noticed), at_least=False),
            Goal(
                text="next step committed after s, worst", limit=TRAINED_ON_S, measured=max(trained_on), at_least=False
            ),
        ),
        receipts=(
            Receipt("every run ended with the undisturbed weights", all(run["same_weights"] for run in runs)),
            Receipt("no step was lost in any run", all(run["steps_lost"] == 0 for run in runs)),
            Receipt("nobody was accused", all(run["verdicts"] == 0 for run in runs)),
            Receipt("every run had all its faults", all(len(run["faults"]) == run["wanted"] for run in runs)),
        ),
        notes=(
            "Each worker is a process behind a TCP proxy of its own; it kills or stops itself with a real signal at"
            " the very moment, or the proxy goes silent in one direction or both and ends no connection.",
            "`noticed`: for how long nothing had been heard of the worker, or the worker had heard nothing, when the"
            " run took it for gone. `next step committed`: from the fault to the line of the step that was in work,"
            " with detection, handover and the step itself.",
            "The next fault comes once the worker is back and has its work again.",
        ),
        chart=Chart(
            title="From fault to the next committed step",
            x_label="s",
            rows=tuple(
                ChartRow(how, tuple(row["trained_on_s"] for row in faults if row["how"] == how), True)
                for how in sorted({row["how"] for row in faults})
            ),
            limits=((TRAINED_ON_S, "goal: at most"),),
            from_zero=True,
        ),
    )


def _by_fault(faults: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for key in ("how", "moment"):
        for value in dict.fromkeys(row[key] for row in faults):
            mine = [row for row in faults if row[key] == value]
            times = {
                name: part
                for measured in ("noticed_s", "trained_on_s")
                for name, part in Spread(tuple(row[measured] for row in mine)).to_json(measured).items()
            }
            yield {"fault": value, "count": len(mine), **times}
