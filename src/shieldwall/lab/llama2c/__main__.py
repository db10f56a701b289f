"""`python -m shieldwall.lab.llama2c MODEL.bin TOKENIZER.bin OUT`: a model of llama2.c as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shieldwall.core.errors import ShieldwallError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="MODEL.bin")],
    tokenizer: Annotated[Path, typer.Argument(metavar="TOKENIZER.bin")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
) -> None:
    """Convert a model of llama2.c to Hugging Face layout.

    MODEL.bin holds the weights in the legacy float32 format: that of the .bin files at karpathy/tinyllamas, and of
    python export.py --version 0 in llama2.c.

    TOKENIZER.bin is the tokenizer that the model was trained with. It must have as many tokens as the model.

    OUT is the folder to make; it must not exist yet. It gets config.json, model.safetensors, tokenizer.json and
    tokenizer_config.json, as transformers writes them, and can then be given wherever a model is named. No hub is
    asked for anything. The rows of the projections to queries and keys are put into the order that transformers
    wants; no number changes.

    \b
    Example:
        python -m shieldwall.lab.llama2c stories260K.bin tok512.bin stories260K
        shieldwall eval stories260K --data text:input.txt

    Exit codes: 0 written, 1 the disk refused, 2 a file cannot be used or OUT exists. OUT is whole or not there.
    """
    from shieldwall.lab.llama2c.convert import convert

    try:
        done = convert(model, tokenizer, out)
    except ShieldwallError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    header = done.header
    typer.echo(
        f"{header.layers} layers of width {header.width}, {header.heads} heads ({header.kv_heads} for keys and values),"
        f" {header.vocabulary} tokens, {header.positions} positions: {done.parameters:,} parameters"
    )
    typer.echo(f"model: {done.folder}")


if __name__ == "__main__":
    app()
