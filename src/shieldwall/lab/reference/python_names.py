"""The page of the Python interface: every name that `shieldwall` exports, with its signature and its docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shieldwall.lab.reference.markdown import code, docstring, fence, first_paragraph, page, prose, table
from shieldwall.lab.reference.source import ErrorClass, Function, Package, documented_fields

_WIDEST_SIGNATURE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field of a dataclass or a pydantic model."""

    name: str
    kind: str
    default: str
    """Empty where a value must be given."""
    doc: str


def render_python(package: Package) -> str:
    """`python.md`.

    Raises:
        LookupError: an exported name is not where `__init__.py` says.
    """
    homes = package.imports("shieldwall")
    nodes = {name: package.find(homes[name], name) for name in exported_names(package)}
    functions = {name: node for name, node in nodes.items() if isinstance(node, Function)}
    classes = {
        name: node for name, node in nodes.items() if isinstance(node, ast.ClassDef) and name not in package.errors
    }
    rows = [[f"[{code(name)}](#{name.lower()})", _about(node)] for name, node in functions.items()]
    rows += [[f"[{code(name)}](#class-{name.lower()})", _about(node)] for name, node in classes.items()]
    blocks = [
        *docstring(package.doc("shieldwall")),
        fence("from shieldwall import Config, train", "python"),
        table(["Name", "What it is"], rows),
        "The errors are [at the end](#errors), their codes in [errors.md](errors.md).",
        "## Functions",
    ]
    for name, function in functions.items():
        blocks += [f"### {name}", *_function(package, homes[name], name, function)]
        blocks += _types(package, homes[name], function)
    blocks.append("## Classes")
    for name, kind in classes.items():
        blocks += [f"### class {name}", *_class(package, homes[name], kind)]
        blocks += _types(package, homes[name], kind)
    errors = [error for name, error in package.errors.items() if name in nodes]
    return page("Python", [*blocks, "## Errors", *_errors(package, errors)])


def _about(node: Function | ast.ClassDef) -> str:
    return first_paragraph(ast.get_docstring(node) or "")


def exported_names(package: Package) -> list[str]:
    """What `shieldwall.__all__` lists."""
    for node in package.trees["shieldwall"].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise LookupError("shieldwall has no __all__")


def _function(package: Package, module: str, name: str, node: Function, *, bound: bool = False) -> Iterator[str]:
    given = _parameters(package, module, node.args)[1 if bound else 0 :]
    returns = f" -> {package.written(module, node.returns)}" if node.returns else ""
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    yield fence(_signature(prefix + name, given, returns), "python")
    yield from docstring(ast.get_docstring(node) or "")


def _class(package: Package, module: str, node: ast.ClassDef) -> Iterator[str]:
    init = next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None)
    fields = list(_fields(package, module, node))
    given = _parameters(package, module, init.args)[1:] if init else _field_parameters(node, fields)
    yield fence(_signature(f"class {node.name}", given, ""), "python")
    yield from docstring(ast.get_docstring(node) or "")
    if fields:
        yield table(
            ["Field", "Type", "Meaning"], [[code(each.name), code(each.kind), prose(each.doc)] for each in fields]
        )
    for member in node.body:
        if isinstance(member, Function) and not member.name.startswith("_"):
            yield from _member(package, module, node.name, member)


def _member(package: Package, module: str, owner: str, member: Function) -> Iterator[str]:
    marks = {ast.unparse(mark) for mark in member.decorator_list}
    yield f"#### {owner}.{member.name}"
    if marks & {"property", "cached_property"}:
        kind = package.written(module, member.returns) if member.returns else ""
        yield fence(f"{owner}.{member.name}: {kind}", "python")
        yield from docstring(ast.get_docstring(member) or "")
    else:
        bound = "staticmethod" not in marks
        yield from _function(package, module, f"{owner}.{member.name}", member, bound=bound)


def _errors(package: Package, errors: Iterable[ErrorClass]) -> Iterator[str]:
    """The root in full; the others add no more than a name, so a row is enough for each."""
    rows = []
    for error in errors:
        if error.parent:
            rows.append([code(error.name), code(error.parent), str(error.exit_code), first_paragraph(error.doc)])
        else:
            yield f"### class {error.name}"
            yield from _class(package, package.imports("shieldwall")[error.name], error.node)
            yield "The others take the same arguments. A name that stands under “Kind of” catches all of its kind."
    yield table(["Error", "Kind of", "Exit code", "Meaning"], rows)


def _signature(name: str, given: list[str], returns: str) -> str:
    line = f"{name}({', '.join(given)}){returns}"
    if len(line) <= _WIDEST_SIGNATURE or not given:
        return line
    inner = "".join(f"    {each},\n" for each in given)
    return f"{name}(\n{inner}){returns}"


def _parameters(package: Package, module: str, arguments: ast.arguments) -> list[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    given = [
        _parameter(package, module, each, default)
        for each, default in zip(plain, [*missing, *arguments.defaults], strict=True)
    ]
    if arguments.posonlyargs:
        given.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        given.append(f"*{_parameter(package, module, arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        given.append("*")
    given += [
        _parameter(package, module, each, default)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return given + ([f"**{_parameter(package, module, arguments.kwarg, None)}"] if arguments.kwarg else [])


def _parameter(package: Package, module: str, argument: ast.arg, default: ast.expr | None) -> str:
    kind = package.written(module, argument.annotation) if argument.annotation else ""
    return _with_default(argument.arg, kind, package.written(module, default) if default else "")


def _with_default(name: str, kind: str, default: str) -> str:
    named = f"{name}: {kind}" if kind else name
    equals = " = " if kind else "="
    return f"{named}{equals}{default}" if default else named


def _fields(package: Package, module: str, node: ast.ClassDef) -> Iterator[_Field]:
    for statement, doc in documented_fields(node.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            kind = package.written(module, statement.annotation)
            default = _field_default(package, module, statement.value)
            if not kind.startswith("ClassVar") and not statement.target.id.startswith("_"):
                doc = doc or _doc_of_type(package, module, kind)
                yield _Field(name=statement.target.id, kind=kind, default=default, doc=doc)


def _doc_of_type(package: Package, module: str, kind: str) -> str:
    """The first paragraph on a class of the package that is a field's type."""
    for node in package.trees[module].body:
        if isinstance(node, ast.ClassDef) and node.name == kind:
            return (ast.get_docstring(node) or "").split("\n\n")[0]
    home = package.imports(module).get(kind)
    return _doc_of_type(package, home, kind) if home else ""


def _field_default(package: Package, module: str, value: ast.expr | None) -> str:
    """What a field holds if nothing is given, also where `field(...)` or `Field(...)` says so."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) in ("field", "Field")):
        return package.written(module, value) if value else ""
    named = {keyword.arg: package.written(module, keyword.value) for keyword in value.keywords}
    first = package.written(module, value.args[0]) if value.args else ""
    factory = named.get("default_factory")
    return f"{factory}()" if factory else named.get("default", first)


def _field_parameters(node: ast.ClassDef, fields: list[_Field]) -> list[str]:
    """What the class is called with: of a dataclass its fields, of a model the same by name alone."""
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    by_place = any("dataclass" in mark and "kw_only=True" not in mark for mark in marks)
    given = [_with_default(each.name, each.kind, each.default) for each in fields]
    return given if by_place or not given else ["*", *given]


def _types(package: Package, module: str, node: ast.AST) -> Iterator[str]:
    """Where the types come from that the signatures name and `shieldwall` does not export."""
    exported = exported_names(package)
    used = sorted({name for annotation in _annotations(node) for name in _names(annotation)} - {*exported})
    imported = package.imports(module)
    own = {each.name for each in package.trees[module].body if isinstance(each, ast.ClassDef)}
    aliases = {
        ast.unparse(each.targets[0]): package.written(module, each.value)
        for each in package.trees[module].body
        if isinstance(each, ast.Assign)
    }
    homes = dict.fromkeys(own, module) | imported
    said = [f"{code(name)} is {code(aliases[name])}" for name in used if name in aliases]
    said += [
        f"{', '.join(code(name) for name in used if homes.get(name) == home)} from {code(home)}"
        for home in sorted({homes[name] for name in used if name in homes})
    ]
    if said:
        yield f"Types: {'; '.join(said)}."


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    """Annotations of a function, or of the public functions and fields of a class."""
    if isinstance(node, Function):
        arguments = node.args
        for each in [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]:
            if each and each.annotation:
                yield each.annotation
        if node.returns:
            yield node.returns
    elif isinstance(node, ast.ClassDef):
        for member in node.body:
            if isinstance(member, ast.AnnAssign):
                yield member.annotation
            elif isinstance(member, Function) and not member.name.startswith("_"):
                yield from _annotations(member)


def _names(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
