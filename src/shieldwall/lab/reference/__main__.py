"""`python -m shieldwall.lab.reference --out docs/reference`: the reference, made anew from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shieldwall.core.errors import ShieldwallError
from shieldwall.core.files import storing, write_whole

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the pages go; made if it is not there. DIR/../errors is read.")
    ],
) -> None:
    """Write the pages of docs/reference from the code: configuration, commands, Python, errors, extensions.

    The pages depend on the code and on the titles of the pages in docs/errors, and on nothing of the machine.
    """
    from shieldwall.lab.reference.render import render

    try:
        pages = render(out.parent / "errors")
        with storing(out):
            out.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            write_whole(out / name, text.encode())
    except LookupError as error:
        raise typer.BadParameter(str(error)) from error
    except ShieldwallError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    typer.echo(f"{len(pages)} pages in {out}")


if __name__ == "__main__":
    app()
