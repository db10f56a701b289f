"""The commands of runs that span machines: invite, join, workers, ban, unban."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from shieldwall.cli.app import PlainCommand, app
from shieldwall.core.errors import ConfigError

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The worker's name, as shieldwall workers shows it.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command(cls=PlainCommand)
def invite(
    run: Run,
    uses: Annotated[int, typer.Option(min=1, help="How many machines can join with the ticket.")] = 1,
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long: a number and s, m, h or d.")] = "1h",
) -> None:
    """Make a ticket for a run: whoever holds it can join. The ticket is the last line of standard output."""
    from shieldwall.transport.identity.clock import utc_now
    from shieldwall.transport.identity.gate import Gate

    gate = Gate.load(run / "private")
    ticket = gate.invite(uses=uses, lasts=_duration(ttl), now=utc_now())
    typer.echo(f"the run's authority: {ticket.fingerprint}", err=True)
    typer.echo(ticket.text())


@app.command(cls=PlainCommand)
def join(
    ticket: Annotated[str, typer.Argument(metavar="TICKET", help="From shieldwall invite, or train --listen.")],
    home: Annotated[Path, typer.Option(metavar="DIR", help="This worker's folder: its keys lie there.")] = Path(
        "~/.shieldwall"
    ),
    device: Annotated[str, typer.Option(help='What to compute on: "auto", "cpu", "cuda" or "cuda:N".')] = "auto",
    patience: Annotated[str, typer.Option(metavar="TIME", help="How long to look for the run in vain.")] = "10m",
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Let other workers dial this one here; port 0 is one that is free."),
    ] = None,
    spare: Annotated[
        bool, typer.Option("--spare", help="Be one more than the run waits for, to stand in for those who go.")
    ] = False,
    attack: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cheat as the [[attack]] tables of this TOML file say: tests and research."),
    ] = None,
    attack_log: Annotated[
        Path | None,
        typer.Option(
            "--attack-log", metavar="FILE", help="A line for each thing falsified; attacks.jsonl in DIR if left out."
        ),
    ] = None,
) -> None:
    """Work for a run on another machine, with a ticket of it. Keys are made at the first use and never leave DIR.

    Workers that listen are sent to directly by the others, in a chain; those that do not are relayed by the initiator.
    What is direct and what is relayed is said on standard error, and shieldwall workers shows it.

    With --attack the worker cheats, and says so on standard error in each step in which it did. The run is not told.

    Exit codes: 0 the run is over, 1 the run refused this worker or cannot be reached, 2 what was given cannot be used.
    """
    from shieldwall.run.allocator import keep_freed_memory
    from shieldwall.run.machines.listen import Listen
    from shieldwall.run.machines.worker import Joining
    from shieldwall.run.machines.worker import join as run_join

    keep_freed_memory()
    joining = Joining(
        home=home.expanduser(),
        device=device,
        patience_s=_duration(patience).total_seconds(),
        tell=lambda said: typer.echo(said, err=True),
        attack=attack,
        attack_log=attack_log,
        listen=Listen.parse(listen) if listen else None,
        spare=spare,
    )
    run_join(ticket, joining)


@app.command(cls=PlainCommand)
def workers(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")] = False,
) -> None:
    """Show who takes part in a run over machines, what each holds, and who is gone or banned; the run is only read.

    States: working; spare, holds nothing yet; gone, cannot be reached; banned; left, took its leave or the run is over.
    """
    from shieldwall.run.machines.status import table
    from shieldwall.run.machines.status import workers as run_workers

    found = run_workers(run)
    typer.echo(json.dumps([each.model_dump(mode="json") for each in found], indent=2) if as_json else table(found))


@app.command(cls=PlainCommand)
def ban(
    run: Run,
    name: Name,
    why: Annotated[str, typer.Option(help="The reason, for whoever asks later.")] = "by hand",
) -> None:
    """Have nothing more to do with a worker: its key is refused, with any ticket.

    A run that is on cuts its connections within a second, and others take over what it held.
    """
    from shieldwall.transport.identity.book import Book
    from shieldwall.transport.identity.clock import utc_now

    Book.open(run / "private").ban(name, why, utc_now())
    typer.echo(f"{name} is banned")


@app.command(cls=PlainCommand)
def unban(run: Run, name: Name) -> None:
    """Let a worker come back that was banned."""
    from shieldwall.transport.identity.book import Book
    from shieldwall.transport.identity.clock import utc_now

    Book.open(run / "private").unban(name, utc_now())
    typer.echo(f"{name} may come back")


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if found is None:
        raise ConfigError(
            "SW-C132",
            "that is no length of time",
            expected="a number and s, m, h or d, such as 90s, 30m, 1h or 7d",
            got=text,
        )
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
