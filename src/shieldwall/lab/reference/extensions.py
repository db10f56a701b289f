"""The page of what can be extended: every registry, what is built in, and how a package adds to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from shieldwall.lab.reference.markdown import code, docstring, fence, first_paragraph, page, prose, table
from shieldwall.lab.reference.source import Package, documented_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRegistry:
    """A registry as the source declares it."""

    module: str
    name: str
    group: str
    built_in: dict[str, str]
    entry: str
    """What an entry has to be: the docstring under the registry."""


def render_extensions(package: Package) -> str:
    """`extensions.md`.

    Raises:
        LookupError: a registry that is not written down plainly, or names what is not there.
    """
    blocks = [
        "Other packages can add to each list below, without a change to this one, by an entry point in its group."
        " What a name stands for is imported when it is asked for. A name that is built in cannot be taken by another"
        " package.",
    ]
    for registry in sorted(find_registries(package), key=lambda found: found.group):
        blocks += _registry(package, registry)
    return page("Extensions", blocks)


def find_registries(package: Package) -> Iterator[FoundRegistry]:
    """Every module-level `NAME = Registry(group, {name: target})` of the package.

    Raises:
        LookupError: one is written in another way, or has no docstring.
    """
    for module, tree in package.trees.items():
        for node, doc in documented_fields(tree.body):
            if isinstance(node, ast.Assign) and _calls_registry(node.value):
                yield _read(module, node, doc)


def _calls_registry(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Registry"


def _read(module: str, node: ast.Assign, doc: str) -> FoundRegistry:
    name = ast.unparse(node.targets[0])
    try:
        group, built_in = [ast.literal_eval(given) for given in getattr(node.value, "args", ())]
    except ValueError:
        raise LookupError(f"{module}.{name} is not Registry(GROUP, {{NAME: TARGET}}) with plain texts") from None
    if not doc:
        raise LookupError(f"{module}.{name} has no docstring under it that says what an entry is")
    return FoundRegistry(module=module, name=name, group=group, built_in=built_in, entry=doc)


def _registry(package: Package, registry: FoundRegistry) -> Iterator[str]:
    yield f"## {registry.group}"
    yield from docstring(package.doc(registry.module))
    yield f"**An entry:** {prose(registry.entry)}"
    yield table(
        ["Built in", "What it is", "Where"],
        [[code(name), _about(package, target), code(target)] for name, target in registry.built_in.items()],
    )
    yield "To add one, in the `pyproject.toml` of another package:"
    yield fence(f'[project.entry-points."{registry.group}"]\nNAME = "PACKAGE.MODULE:ATTRIBUTE"', "toml")


def _about(package: Package, target: str) -> str:
    """A class speaks for itself; a function's module speaks for it."""
    module, _, attribute = target.partition(":")
    found = package.find(module, attribute)
    own = ast.get_docstring(found) if isinstance(found, ast.ClassDef) else package.doc(module)
    return first_paragraph(own or "")
