"""`python -m shieldwall.lab.churn --out docs/results`: 1,000 steps with a join or leave every few seconds.

Memory, open files and threads of the initiator and of a worker that stays are held against each other (churn.json, .md,
.png): whether they are flat.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from shieldwall.core.errors import BenchmarkError, ShieldwallError
from shieldwall.lab.churn.churned import WORKERS, churn
from shieldwall.lab.churn.report import make_report
from shieldwall.lab.progress import bars
from shieldwall.lab.record import Origin
from shieldwall.lab.recovery.undisturbed import settings_of, undisturbed_root

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
_LEAST_SAMPLES = 8


@app.command()
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; made if it is not there.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the run.")] = 1000,
    every: Annotated[float, typer.Option(min=0.0, help="Seconds from one change to the next, at least.")] = 3.0,
) -> None:
    """Let workers come and go while a run goes on, and see whether its processes grow."""
    origin = Origin(command=" ".join(["python -m shieldwall.lab.churn", *sys.argv[1:]]), seed=0, threads=1)
    settings = settings_of(steps, "chain")
    try:
        with tempfile.TemporaryDirectory() as scratch, bars() as progress:
            task = progress.add_task("steps", total=steps)
            found = asyncio.run(
                churn(Path(scratch) / "machines", settings, every, lambda done: progress.update(task, completed=done))
            )
            if found.code or min(map(len, found.samples.values())) < _LEAST_SAMPLES:
                raise _no_numbers(found.said)
            root = undisturbed_root(Path(scratch) / "here", settings)
        report = make_report(found, root, {"workers": WORKERS, "steps": steps, "seconds between changes": every})
        for path in report.write(out, origin):
            print(path)
    except ShieldwallError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    if not report.sound:
        raise typer.Exit(1)


def _no_numbers(said: str) -> BenchmarkError:
    return BenchmarkError(
        "SW-B104",
        "a run over machines has ended before it was to",
        expected="a run that is looked at for some seconds, and ends well",
        got=said[-2000:],
        remedy="look at what it said last; with few steps there is not enough to look at",
    )


if __name__ == "__main__":
    app()
