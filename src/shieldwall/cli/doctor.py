"""The command `doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from shieldwall.cli.app import PlainCommand, app


@app.command(cls=PlainCommand)
def doctor(
    ticket: Annotated[
        str | None, typer.Argument(metavar="[TICKET]", help="Of a run, to look at the way there too.")
    ] = None,
    home: Annotated[Path, typer.Option(metavar="DIR", help="The worker's folder, as for join.")] = Path(
        "~/.shieldwall"
    ),
    device: Annotated[str, typer.Option(help='What to compute on: "auto", "cpu", "cuda" or "cuda:N".')] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")] = False,
) -> None:
    """Look whether this machine can take part in a run, and say what to do where it cannot. Changes nothing.

    Versions, devices, memory, disk, keys and the clock; with a ticket also names, ports, certificate, whether the run
    would let this machine in, the two clocks, what the plan needs, round trip and bandwidth. The ticket is not used up.

    One line for each check, which begins with pass or FAIL. Exit code 1 if any failed.
    """
    from shieldwall.run.machines.doctor.examine import Doctor
    from shieldwall.transport.identity.ticket import read_ticket

    read = None if ticket is None else read_ticket(ticket)
    found = Doctor(home=home.expanduser(), device=device).examine(read)
    if as_json:
        typer.echo(json.dumps([finding.to_json() for finding in found], indent=2))
    else:
        typer.echo("\n".join(map(str, found)))
    if not all(finding.passed for finding in found):
        raise typer.Exit(1)
