"""`python -m shieldwall.lab.shield_property --runs 2000 --out docs/results`: does the shield keep its promise?

Writes shield.json and shield.md under `--out`. What was run is kept beside them in a journal of the seed's own, so that
the same command goes on where it was stopped; more `--runs` add to those that are there. A law that does not hold ends
with code 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from shieldwall.core.errors import ShieldwallError
from shieldwall.lab.progress import bars
from shieldwall.lab.record import Origin
from shieldwall.lab.shield_property.journal import Journal
from shieldwall.lab.shield_property.report import write_report
from shieldwall.lab.shield_property.runs import run_missing

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; made if it is not there.")],
    runs: Annotated[int, typer.Option(min=1, help="Drawn pipelines, those in the journal included.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="How many run at once, each with one thread.")] = 2,
) -> None:
    """Hold drawn pipelines with drawn attackers against the shield's laws; each takes about a second and a half."""
    origin = Origin(command=" ".join(["python -m shieldwall.lab.shield_property", *sys.argv[1:]]), seed=seed, threads=1)
    journal = Journal(out / f"shield-{seed}.jsonl")
    try:
        with bars() as progress:
            there = sum(number < runs for number in journal.rows())
            task = progress.add_task("runs", total=runs, completed=there)
            for _ in run_missing(journal, seed, runs, processes):
                progress.advance(task)
        rows = [row for number, row in sorted(journal.rows().items()) if number < runs]
        for path in write_report(out, rows, origin):
            print(path)
    except ShieldwallError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    broken = [row for row in rows if row["broken"]]
    for row in broken:
        print(f"run {row['number']}: {'; '.join(row['broken'])}", file=sys.stderr)
    if broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
