"""What a siege adds up to: memory, files and threads over time, held against the goal that nothing grows."""

from __future__ import annotations

from typing import Any

from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.fuzz.besieged import Siege
from shieldwall.lab.record import Column, Goal, Receipt, Report, Table

GROWTH_MIB = 32.0
GROWTH_FILES = 16.0
GROWTH_THREADS = 8.0
LOG_LINES = 200.0

_COLUMNS = (
    Column("when", "when"),
    Column("inputs", "inputs so far", "{:,}"),
    Column("steps", "steps"),
    Column("rss_mib", "memory, MiB", "{:.1f}"),
    Column("files", "open files"),
    Column("threads", "threads"),
)


def make_report(siege: Siege, undisturbed_root: str, *, inputs: int, idle: int) -> Report:
    """Of a siege and the `weights_root` of the same run, left alone."""
    warm, last = siege.row("warm"), siege.row("part 10")
    kinds = [{"kind": kind, "inputs": count} for kind, count in siege.inputs.items()]
    ends = [{"status": status, "times": times} for status, times in siege.refused.items()]
    trained = [row for row in siege.rows if row["when"] == "training"]
    return Report(
        name="hostile",
        title="An open port under fire",
        setup={
            "inputs": inputs,
            "idle_connections": idle,
            "inputs_while_it_trained": siege.training_inputs,
            "workers_lost_meanwhile": len(siege.summary.get("failures", [])),
            "steps_lost": siege.summary.get("steps_lost"),
        },
        tables=(
            Table("process", "The initiator's process", _COLUMNS, _thinned(siege.rows)),
            Table("kinds", "Inputs", (Column("kind", "kind"), Column("inputs", "inputs", "{:,}")), kinds),
            Table(
                "ends",
                "How calls and streams of guests and members ended",
                (Column("status", "status"), Column("times", "times", "{:,}")),
                ends,
            ),
        ),
        goals=(
            _goal("memory gained, MiB, after the first fiftieth of the inputs", GROWTH_MIB, last, warm, "rss_mib"),
            _goal("open files gained", GROWTH_FILES, last, warm, "files"),
            _goal("threads gained", GROWTH_THREADS, last, warm, "threads"),
            _goal("open files left of the idle connections", GROWTH_FILES, siege.row("after them"), last, "files"),
            Goal(text="lines of the log about all this", limit=LOG_LINES, measured=siege.lines, at_least=False),
        ),
        receipts=(
            Receipt(f"{inputs:,} inputs were sent before the last worker came", sum(siege.inputs.values()) >= inputs),
            Receipt(f"{idle:,} silent connections were open at once when it joined", siege.idle >= idle),
            Receipt("the run ended in order", siege.code == 0),
            Receipt(
                "its weights are those of the same run in one process, left alone",
                siege.summary.get("weights_root") == undisturbed_root,
            ),
            Receipt("nobody was accused", siege.summary.get("verdicts") == []),
            Receipt("it was under fire while it trained", siege.training_inputs > 0),
        ),
        notes=(
            "A real `shieldwall train --listen` with two workers, each a process of its own. The first is there from"
            " the beginning; the inputs come while the run waits for the second, which joins over the same port while"
            " the silent connections are held. Then the run trains, and more inputs come from outsiders until it ends.",
            "tcp: noise, other protocols and half handshakes in a socket. tls: a handshake without a certificate or as"
            " a guest, then nothing. http2: a guest's handshake, then frames that lie about their lengths. guest: calls"
            " of every method with spoiled requests. member: spoiled letters of eight enrolled members; one letter is"
            " one input.",
            "Silent connections write nothing, or the first bytes of a handshake; those that the port closes are opened"
            f" anew. It closed {siege.idle_closed:,} until the first step was committed.",
            "The last goal counts lines that begin with `refused` or `dropped`. Workers that were silent for too long,"
            " because the machine was busy, are replaced as always: `workers_lost_meanwhile`.",
        ),
        chart=Chart(
            title="Memory of the initiator's process",
            x_label="MiB",
            rows=(
                ChartRow("while it waits, each part of the inputs", _memory(siege, "part"), True),
                ChartRow("while it trains", tuple(row["rss_mib"] for row in trained) or (0.0,), True),
            ),
            from_zero=True,
            form="{:.0f}",
        ),
    )


def _goal(text: str, limit: float, row: dict[str, Any], before: dict[str, Any], key: str) -> Goal:
    return Goal(text=text, limit=limit, measured=row[key] - before[key], at_least=False)


def _memory(siege: Siege, begins: str) -> tuple[float, ...]:
    return tuple(row["rss_mib"] for row in siege.rows if row["when"].startswith(begins))


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the rows of training the first, the middle and the last."""
    trained = [row for row in rows if row["when"] == "training"]
    kept = [trained[place] for place in sorted({0, len(trained) // 2, len(trained) - 1})] if trained else []
    return [*(row for row in rows if row["when"] != "training"), *kept]
