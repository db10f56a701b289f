"""The program and its groups of commands; the modules beside this one add theirs."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class PlainCommand(TyperCommand):
    """A command whose help page is plain text: Typer escapes brackets in it for markup that nobody reads here."""

    def get_help(self, ctx: Any) -> str:
        return str(super().get_help(ctx)).replace("\\[", "[")


app = typer.Typer(
    name="shieldwall",
    help="Fine-tune language models across machines that nobody has to trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Configuration files.", no_args_is_help=True)
app.add_typer(config_app, name="config")
ledger_app = typer.Typer(help="What was signed in a run, and who was found out.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
