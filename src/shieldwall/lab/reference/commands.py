"""The page of the commands: `shieldwall` and what runs as a module, each with its arguments, options and exit codes.

The commands are walked by the attributes that they all have; nothing asks typer to format a page, because that
depends on the width of the terminal and on the versions of typer and click.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from typer.main import get_command

from shieldwall.lab.reference.markdown import code, docstring, fence, first_paragraph, page, prose, table
from shieldwall.lab.reference.parameters import Parameter, parameters_of
from shieldwall.lab.reference.source import Package


def render_commands(package: Package, programs: Mapping[str, Any]) -> str:
    """`commands.md` for typer apps by the words that start them, and the modules that have no app."""
    found = [entry for words, app in programs.items() for entry in walk(words, get_command(app))]
    listed = [(words, first_paragraph(command.help or "")) for words, command in found]
    without_app = {f"python -m {module}": file for module, file in runnable_modules(package).items()}
    without_app = {words: file for words, file in without_app.items() if words not in programs}
    listed += [(words, first_paragraph(package.doc(file))) for words, file in without_app.items()]
    blocks = [
        "`--help` after any of them prints the same. Results go to standard output, progress and messages to"
        " standard error.",
        table(["Command", "What it does"], [[f"[{code(words)}](#{_anchor(words)})", about] for words, about in listed]),
        *_exit_codes(package),
    ]
    for words, command in found:
        blocks += _command(words, command)
    for words, file in without_app.items():
        blocks += [f"## {words}", *docstring(package.doc(file))]
    return page("Commands", blocks)


def find_programs(package: Package) -> dict[str, Any]:
    """The typer apps by the words that start them: `shieldwall` first, then modules of their own."""
    files = {"shieldwall": "shieldwall.cli.app"}
    for module, file in runnable_modules(package).items():
        if _has_app(package, file):
            files[f"python -m {module}"] = file
    import_module("shieldwall.cli")  # its modules add their commands to the app
    return {words: import_module(file).app for words, file in files.items()}


def runnable_modules(package: Package) -> dict[str, str]:
    """What runs with `python -m` besides the package itself, with the file that is run.

    These are folders with a `__main__.py` and files with an app. Other files that can be run are started by ours alone.
    """
    packages = {file.removesuffix(".__main__"): file for file in package.trees if file.endswith(".__main__")}
    files = {file: file for file in package.trees if file not in packages.values() and _has_app(package, file)}
    both = {**packages, **files}
    return {module: both[module] for module in sorted(both) if module not in ("shieldwall", "shieldwall.cli.app")}


def _has_app(package: Package, file: str) -> bool:
    assigned = [node for node in package.trees[file].body if isinstance(node, ast.Assign)]
    return any(ast.unparse(node.targets[0]) == "app" for node in assigned)


def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and all commands below it, each with the words that start it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from walk(f"{words} {name}", below)


def _anchor(words: str) -> str:
    return "".join(letter for letter in words.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def _exit_codes(package: Package) -> Iterator[str]:
    """A table of the exit codes, each explained by the uppermost class of errors that has it."""
    yield "## Exit codes"
    rows = [["0", "It succeeded.", ""]]
    kinds = [error for error in package.errors.values() if error.parent]
    for exit_code in sorted({error.exit_code for error in kinds}):
        with_it = [error for error in kinds if error.exit_code == exit_code]
        names = {error.name for error in with_it}
        meaning = " ".join(first_paragraph(error.doc) for error in with_it if error.parent not in names)
        rows.append([str(exit_code), meaning, ", ".join(code(error.name) for error in with_it)])
    yield table(["Code", "Meaning", "Errors"], rows)
    yield "Arguments and options that cannot be read end with 2, too."


def _command(words: str, command: Any) -> Iterator[str]:
    parameters = list(parameters_of(command))
    arguments = [each for each in parameters if each.is_argument]
    options = [each for each in parameters if not each.is_argument]
    below = getattr(command, "commands", {})
    required = [each.shown for each in options if each.required]
    usage = [words, *required, *["[OPTIONS]"] * (len(required) < len(options)), *(each.shown for each in arguments)]
    yield f"## {words}"
    yield fence(" ".join([*usage, *["COMMAND ..."] * bool(below)]))
    yield from docstring(command.help or "")
    for header, listed in (("Argument", arguments), ("Option", options)):
        if listed:
            yield table([header, "Default", "Meaning"], [_row(each) for each in listed])
    if below:
        yield f"Commands: {', '.join(code(f'{words} {name}') for name in below)}."


def _row(parameter: Parameter) -> list[str]:
    default = code(parameter.default) if parameter.default and not parameter.is_flag else parameter.default
    meaning = [prose(parameter.help), *[f"({parameter.limits})"] * bool(parameter.limits)]
    return [code(parameter.shown), "must be given" if parameter.required else default, " ".join(meaning)]
