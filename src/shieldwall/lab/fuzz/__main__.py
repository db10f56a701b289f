"""`python -m shieldwall.lab.fuzz --out docs/results`: an open port under fire (hostile.json, .md, .png)."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from shieldwall.core.errors import ShieldwallError
from shieldwall.lab.fuzz.besieged import besiege
from shieldwall.lab.fuzz.report import make_report
from shieldwall.lab.progress import bars
from shieldwall.lab.record import Origin
from shieldwall.lab.recovery.undisturbed import settings_of, undisturbed_root

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; made if it is not there.")],
    inputs: Annotated[int, typer.Option(min=100, help="Sent before the last worker joins.")] = 100_000,
    idle: Annotated[int, typer.Option(min=0, help="Connections that say nothing, held at once.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="That the run trains afterwards, under fire.")] = 200,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
) -> None:
    """Fire garbage at the open port of a real run, and see whether it grows or falls."""
    origin = Origin(command=" ".join(["python -m shieldwall.lab.fuzz", *sys.argv[1:]]), seed=seed, threads=1)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # of the processes that are started
    settings = [*settings_of(steps, "chain"), "pipeline.workers=2"]
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            bars() as progress,
        ):
            task = progress.add_task("inputs", total=inputs)
            siege = asyncio.run(
                besiege(
                    Path(scratch) / "machines",
                    settings,
                    inputs=inputs,
                    idle=idle,
                    seed=seed,
                    tick=lambda: progress.advance(task),
                )
            )
            root = undisturbed_root(Path(scratch) / "here", settings)
        report = make_report(siege, root, inputs=inputs, idle=idle)
        for path in report.write(out, origin):
            print(path)
    except ShieldwallError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    if not report.sound:
        print(siege.said, file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
