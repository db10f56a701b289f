"""The page of the errors: every code that the source names, the class that carries it, the title of its page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from shieldwall.lab.reference.markdown import docstring, page, prose, table
from shieldwall.lab.reference.source import Function, Package

_CODE = re.compile(r"SW-[A-Z]\d{3}")


def render_errors(package: Package, pages: Path) -> str:
    """`errors.md`; `pages` is the folder with a page for each code.

    Raises:
        LookupError: a code has no page, or nothing tells its class.
    """
    classes = code_classes(package)
    blocks = [
        "A message begins with the class of the error and its code, and names the page of the code in its last line."
        " The exit codes are those of the commands. In Python every class is a `ShieldwallError`; its fields are in"
        " [python.md](python.md#class-shieldwallerror).",
    ]
    for error in package.errors.values():
        codes = [each for each, name in classes.items() if name == error.name]
        if codes:
            blocks += [f"## {error.name}", *docstring(error.doc)]
            blocks.append(f"Exit code {error.exit_code}; a kind of `{error.parent}`.")
            rows = [[f"[{each}](../errors/{each}.md)", prose(title_of(each, pages))] for each in codes]
            blocks.append(table(["Code", "Title"], rows))
    return page("Errors", blocks)


def code_classes(package: Package) -> dict[str, str]:
    """Every code that a call in the source carries, in alphabetical order, with its class.

    Raises:
        LookupError: the call makes nothing that is known to be an error of ours.
    """
    makers = {**_makers(package), **{name: name for name in package.errors}}
    found: dict[str, str] = {}
    for module, tree in package.trees.items():
        local = {**makers, **_local_makers(package, tree)}
        for each, called in _calls(tree):
            if called not in local:
                raise LookupError(
                    f"{each} in {module}: {called} is no class of errors and says of none that it returns one"
                )
            if found.setdefault(each, local[called]) != local[called]:
                raise LookupError(f"{each} is a {found[each]} and a {local[called]}")
    return dict(sorted(found.items()))


def title_of(error_code: str, pages: Path) -> str:
    """What the first line of the code's page says after the code.

    Raises:
        LookupError: there is no page, or it has another title.
    """
    path = pages / f"{error_code}.md"
    first = path.read_text("utf-8").partition("\n")[0] if path.exists() else ""
    name, _, title = first.removeprefix("# ").partition(": ")
    if name != error_code or not title:
        raise LookupError(f"{path} has no title that begins with {error_code}")
    return title


def _calls(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each code that stands alone as an argument, and what is called with it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for given in [*node.args, *(keyword.value for keyword in node.keywords)]:
                if isinstance(given, ast.Constant) and _CODE.fullmatch(str(given.value)):
                    yield str(given.value), ast.unparse(node.func).rpartition(".")[2]


def _makers(package: Package) -> dict[str, str]:
    """Public functions that are annotated to return an error, with its class."""
    return {
        name: kind
        for tree in package.trees.values()
        for name, kind in _local_makers(package, tree).items()
        if not name.startswith("_")
    }


def _local_makers(package: Package, tree: ast.Module) -> dict[str, str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, Function) and node.returns]
    kinds = {node.name: ast.unparse(node.returns) for node in functions if node.returns}
    return {name: kind for name, kind in kinds.items() if kind in package.errors}
