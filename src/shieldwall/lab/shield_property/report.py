"""Counts by kind of attack, as JSON and Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shieldwall.core.files import write_whole
from shieldwall.lab.record import Column, Origin, Table
from shieldwall.lab.shield_property.journal import Row

COLUMNS = (
    Column("kind", "attack"),
    Column("runs", "runs"),
    Column("fired_in", "runs in which it fired"),
    Column("fired", "things falsified"),
    Column("struck", "attacked (worker, step)"),
    Column("caught", "caught in time"),
    Column("misses", "misses"),
    Column("verdicts", "verdicts"),
    Column("false_accusations", "false accusations"),
    Column("rerun", "micro-batches rerun"),
    Column("changed_unchecked", "runs changed without the shield"),
    Column("broken", "runs in which a law broke"),
)
SUMS = ("fired", "struck", "caught", "verdicts", "false_accusations", "rerun")


def count_by_kind(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """A row of counts for each kind, and one for all of them."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        for kind in (row["attack"]["kind"], "all"):
            counts.setdefault(kind, Counter()).update(_counts(row))
    names = [column.key for column in COLUMNS[1:]]
    kinds = [*sorted(counts.keys() - {"all"}), *(["all"] if counts else [])]
    return [{"kind": kind, **{name: counts[kind][name] for name in names}} for kind in kinds]


def _counts(row: Row) -> dict[str, int]:
    return {
        "runs": 1,
        "fired_in": int(row["fired"] > 0),
        "misses": row["struck"] - row["caught"],
        "changed_unchecked": int(bool(row["changes_unchecked"])),
        "broken": int(bool(row["broken"])),
        **{name: row[name] for name in SUMS},
    }


def write_report(out: Path, rows: Sequence[Row], origin: Origin) -> list[Path]:
    """Write `shield.json` and `shield.md` under `out`, which is made if it is not there.

    Raises:
        StorageError: SW-S101; the disk refused.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts = count_by_kind(rows)
    broken = [row for row in rows if row["broken"]]
    content = {
        "experiment": "shield",
        "command": origin.command,
        "seed": origin.seed,
        "threads": origin.threads,
        "date": origin.date,
        "machine": dict(origin.machine),
        "by_kind": counts,
        "broken": broken,
    }
    paths = {
        out / "shield.json": json.dumps(content, indent=2) + "\n",
        out / "shield.md": _to_markdown(counts, broken, origin),
    }
    for path, text in paths.items():
        write_whole(path, text.encode())
    return list(paths)


def _to_markdown(counts: Sequence[Mapping[str, Any]], broken: Sequence[Row], origin: Origin) -> str:
    runs = counts[-1]["runs"] if counts else 0
    machine = origin.machine
    lines = [
        "# The shield's promise as a property",
        "",
        f"`{origin.command}`, seed {origin.seed}, {origin.date}",
        "",
        f"- {runs} drawn pipelines with one drawn attacker each; each was run attacked, clean, and without the shield.",
        f"- Runs in which a law did not hold: {len(broken)}.",
        "",
        *Table("by_kind", "By kind of attack", COLUMNS, counts).to_markdown(),
        "## How it was counted",
        "",
        "- The laws are those of `shieldwall.lab.shield_property.laws`.",
        "- Caught: a verdict against the worker before the commit of the step; for poisoned states when they are next"
        " used or served; for `malformed` and for `replay` of signed frames a refusal before use.",
        "- Two who lie together are not among the kinds: the duplicate check does not see them.",
        "- Without the shield `malformed` and `replay` of signed frames are not run: they would end the run or let it"
        " wait for ever.",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, torch {machine['torch']}.",
        *(f"- **Broken**, run {row['number']}: {'; '.join(row['broken'])}. {row['drawn']}" for row in broken),
    ]
    return "\n".join([*lines, ""])
