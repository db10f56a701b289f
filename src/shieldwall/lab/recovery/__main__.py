"""`python -m shieldwall.lab.recovery --out docs/results`: what faults cost runs over machines.

Twenty runs of ten faults each (recovery.json, .md, .png), or with `--storm 100` one run of a hundred kills
(storm.json, .md, .png). What was run is kept in a journal beside them, and the same command goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

from shieldwall.core.errors import ShieldwallError
from shieldwall.lab.progress import bars
from shieldwall.lab.record import Origin
from shieldwall.lab.recovery.disturbed import WORKERS, Found, disturb
from shieldwall.lab.recovery.faults import Fault, How, draw_faults
from shieldwall.lab.recovery.report import make_report
from shieldwall.lab.recovery.undisturbed import settings_of, undisturbed_root
from shieldwall.lab.shield_property.journal import Journal

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; made if it is not there.")],
    runs: Annotated[int, typer.Option(min=1, help="Runs, those in the journal included.")] = 20,
    faults: Annotated[int, typer.Option(min=1, help="Faults in each.")] = 10,
    storm: Annotated[int, typer.Option(min=0, help="Instead: one run with so many kills.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps for each fault.")] = 40,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
) -> None:
    """Kill, stop and cut off the workers of real runs, and see what is lost."""
    name = "storm" if storm else "recovery"
    wanted, count = (1, storm) if storm else (runs, faults)
    origin = Origin(command=" ".join(["python -m shieldwall.lab.recovery", *sys.argv[1:]]), seed=seed, threads=1)
    journal = Journal(out / f"{name}-{seed}.jsonl")
    journal.mend()
    try:
        with bars() as progress:
            there = [number for number in journal.rows() if number < wanted]
            task = progress.add_task("faults", total=wanted * count, completed=len(there) * count)
            for number in range(wanted):
                if number not in there:
                    drawn = draw_faults(Random(f"{seed}/{number}"), count, WORKERS, [How.KILL] if storm else tuple(How))
                    journal.add(_run(number, drawn, count * steps, lambda: progress.advance(task)))
        rows = [row for number, row in sorted(journal.rows().items()) if number < wanted]
        title = "A run through a storm of kills" if storm else "Runs whose workers are killed, stopped and cut off"
        report = make_report(name, title, rows, {"workers": WORKERS, "faults": count, "steps": count * steps})
        for path in report.write(out, origin):
            print(path)
    except ShieldwallError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    if not report.sound:
        raise typer.Exit(1)


def _run(number: int, faults: list[Fault], steps: int, on_fault: Any) -> dict[str, Any]:
    topology = ("chain", "star")[number % 2]
    settings = settings_of(steps, topology)
    with tempfile.TemporaryDirectory() as scratch:
        root = undisturbed_root(Path(scratch) / "here", settings)
        found: Found = asyncio.run(disturb(Path(scratch) / "machines", settings, faults, on_fault))
    return {
        "number": number,
        "topology": topology,
        "wanted": len(faults),
        "faults": list(found.rows),
        "steps": found.summary.get("steps", 0),
        "steps_lost": found.summary.get("steps_lost", -1),
        "verdicts": len(found.summary.get("verdicts", [None])),
        "same_weights": found.code == 0 and found.summary.get("weights_root") == root,
        "said": "" if found.code == 0 else found.said[-2000:],
    }


if __name__ == "__main__":
    app()
