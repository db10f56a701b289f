"""The package as syntax trees: what the pages say about names, codes and registries is read here, nothing is imported.

Trees, not objects, because a tree has the text of an annotation or a default as its author wrote it, whichever
Python reads it, and the docstring under a field, which no object keeps.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import shieldwall

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Package:
    """All modules of the package by their dotted names, in alphabetical order."""

    texts: Mapping[str, str]

    @classmethod
    def read(cls, root: Path | None = None) -> Package:
        """The package in the folder `root`, or this very one."""
        root = root or Path(shieldwall.__file__).parent
        return cls(
            {_dotted(path.relative_to(root.parent)): path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}
        )

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Each module's tree."""
        return {name: ast.parse(text) for name, text in sorted(self.texts.items())}

    def written(self, module: str, node: ast.AST) -> str:
        """A node as its author wrote it, on one line."""
        return " ".join((ast.get_source_segment(self.texts[module], node) or "").split())

    def doc(self, module: str) -> str:
        """A module's docstring."""
        return ast.get_docstring(self.trees[module]) or ""

    def find(self, module: str, name: str) -> Function | ast.ClassDef:
        """The function or class that `module` defines as `name`.

        Raises:
            LookupError: it defines none.
        """
        for node in self.trees[module].body:
            if isinstance(node, Function | ast.ClassDef) and node.name == name:
                return node
        raise LookupError(f"{module} defines no function and no class {name}")

    def imports(self, module: str) -> dict[str, str]:
        """Names that a module imports from modules of the package, with the module that each comes from."""
        return {
            alias.asname or alias.name: node.module
            for node in ast.walk(self.trees[module])
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("shieldwall")
            for alias in node.names
        }

    @cached_property
    def errors(self) -> dict[str, ErrorClass]:
        """Every class of errors by its name, parents first."""
        known: dict[str, ErrorClass] = {}
        classes = [node for tree in self.trees.values() for node in tree.body if isinstance(node, ast.ClassDef)]
        waiting = len(classes) + 1
        while len(classes) < waiting:
            waiting = len(classes)
            classes = [node for node in classes if not _learn(node, known)]
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorClass:
    """A class of the tree of errors."""

    name: str
    parent: str
    exit_code: int
    doc: str
    node: ast.ClassDef


def documented_fields(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the docstring under it, `""` where there is none."""
    for index, node in enumerate(body):
        after = body[index + 1] if index + 1 < len(body) else None
        has_doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        yield node, str(after.value.value) if has_doc else ""  # type: ignore[union-attr]


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _learn(node: ast.ClassDef, known: dict[str, ErrorClass]) -> bool:
    """Whether the class is an error whose parent is known; then it is known, too."""
    parents = [base.id for base in node.bases if isinstance(base, ast.Name)]
    parent = next((name for name in parents if name in known), "")
    if not parent and node.name != "ShieldwallError":
        return False
    own = [
        statement.value.value
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and ast.unparse(statement.targets[0]) == "exit_code"
        and isinstance(statement.value, ast.Constant)
    ]
    exit_code = int(str(own[0])) if own else known[parent].exit_code
    known[node.name] = ErrorClass(
        name=node.name, parent=parent, exit_code=exit_code, doc=ast.get_docstring(node) or "", node=node
    )
    return True
