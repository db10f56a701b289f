"""The reference is what the code says today, tells everything, and cannot be stale without being noticed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import DOCS
from pydantic import BaseModel, Field
from typer.main import get_command
from typer.testing import CliRunner

import shieldwall
from shieldwall import cli
from shieldwall.attacks.spec import COMMON_KEYS
from shieldwall.config import Config
from shieldwall.lab.reference.__main__ import app as reference_app
from shieldwall.lab.reference.commands import render_commands, walk
from shieldwall.lab.reference.configuration import render_configuration
from shieldwall.lab.reference.error_codes import code_classes, render_errors
from shieldwall.lab.reference.extensions import find_registries, render_extensions
from shieldwall.lab.reference.markdown import docstring
from shieldwall.lab.reference.python_names import render_python
from shieldwall.lab.reference.render import render
from shieldwall.lab.reference.source import Package

REFERENCE = DOCS / "reference"
ERROR_PAGES = DOCS / "errors"
RENEW = "python -m shieldwall.lab.reference --out docs/reference"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return render(ERROR_PAGES)


@pytest.fixture(scope="module")
def package() -> Package:
    return Package.read()


def edited(package: Package, module: str, old: str, new: str) -> Package:
    """The package with one place of one module written otherwise."""
    assert package.texts[module].count(old) == 1
    return Package({**package.texts, module: package.texts[module].replace(old, new)})


def stale(committed: Mapping[str, str], made: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*committed, *made} if committed.get(name) != made.get(name))


def test_the_committed_pages_are_those_that_the_code_makes(pages: dict[str, str]) -> None:
    committed = {path.name: path.read_text("utf-8") for path in REFERENCE.iterdir()}
    assert stale(committed, pages) == [], f"docs/reference is stale; renew it with: {RENEW}"


def test_a_page_that_is_missing_left_over_or_changed_is_stale() -> None:
    assert stale({"a.md": "1", "b.md": "2", "d.md": "4"}, {"a.md": "1", "b.md": "3", "c.md": "4"}) == [
        "b.md",
        "c.md",
        "d.md",
    ]


def test_the_command_writes_the_same_pages(
    pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder, with another width of the terminal."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "errors").symlink_to(ERROR_PAGES)
    done = CliRunner().invoke(reference_app, ["--out", "reference"])
    assert done.output == "5 pages in reference\n"
    assert {path.name: path.read_text("utf-8") for path in (tmp_path / "reference").iterdir()} == pages


def test_the_command_refuses_a_folder_without_error_pages(tmp_path: Path) -> None:
    done = CliRunner().invoke(reference_app, ["--out", str(tmp_path / "reference")])
    assert done.exit_code == 2
    assert "SW-" in done.output
    assert not (tmp_path / "reference").exists()


def test_every_key_has_a_row_with_its_meaning(pages: dict[str, str]) -> None:
    page = pages["configuration.md"]
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    assert sections.pop("attack") == list[dict[str, Any]]
    assert "\n## [[attack]]\n" in page
    named = [("attack", key) for key in COMMON_KEYS]
    for section, kind in sections.items():
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        assert f"\n## [{section}]\n" in page
        named += [(section, key) for key in kind.model_fields]
    for section, key in named:
        rows = re.findall(rf"^\| `{section}\.{key}` \| .+ \| .+ \| .* \| (.+) \|$", page, re.MULTILINE)
        assert len(rows) == 1, f"{section}.{key}"
        assert rows[0].strip()


def test_every_command_has_its_heading_and_all_of_its_options(pages: dict[str, str]) -> None:
    """Held against the help that typer prints."""
    for words, command in walk("shieldwall", get_command(cli.app)):
        part = pages["commands.md"].split(f"\n## {words}\n")[1].split("\n## ")[0]
        printed = CliRunner().invoke(cli.app, [*words.split()[1:], "--help"], env={"COLUMNS": "200"})
        assert printed.exit_code == 0
        named = set(re.findall(r"--[a-z-]+", printed.output)) - {"--help"}
        assert named <= set(re.findall(r"--[a-z-]+", part))
        assert str(command.help).partition("\n")[0] in part


def test_every_command_of_the_source_is_a_heading(package: Package, pages: dict[str, str]) -> None:
    source = "".join(text for module, text in package.texts.items() if module.startswith("shieldwall.cli"))
    named = set(re.findall(r'@(?:app|config_app|ledger_app)\.command\((?:name="(\w+)")?[^)]*\)\ndef (\w+)', source))
    assert len(named) == source.count(".command(") > 10
    for given, function in named:
        assert re.search(rf"^## shieldwall (\w+ )?{given or function}$", pages["commands.md"], re.MULTILINE)
    for module in ("lab.bench", "lab.llama2c", "lab.reference", "schedule"):
        assert f"\n## python -m shieldwall.{module}\n" in pages["commands.md"]


def test_every_exported_name_is_there(pages: dict[str, str]) -> None:
    page = pages["python.md"]
    for name in shieldwall.__all__:
        assert re.search(rf"^(### (class )?{name}|\| `{name}` \| .+)$", page, re.MULTILINE), name
    assert "#### Config.load\n\n```python\nConfig.load(path: Path | None = None" in page
    assert "Config.workers: int" in page


def test_every_code_is_there_with_its_title_and_its_class(package: Package, pages: dict[str, str]) -> None:
    """Codes are those of the pages, which `tests/test_error_pages.py` holds against the source."""
    assert list(code_classes(package)) == sorted(path.stem for path in ERROR_PAGES.iterdir())
    for path in ERROR_PAGES.iterdir():
        name, _, title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ").partition(": ")
        part = pages["errors.md"].split(f"[{name}](../errors/{name}.md) | {title} |")
        assert len(part) == 2
        section = part[0].rpartition("\n## ")[2].partition("\n")[0]
        example = re.search(rf"^(\w+) {name}: ", path.read_text("utf-8"), re.MULTILINE)
        assert example
        assert example[1] == section
        kind = package.errors[section]
        assert f"Exit code {kind.exit_code}; a kind of `{kind.parent}`." in part[0].rpartition("\n## ")[2]


def test_the_classes_of_the_source_are_those_of_python(package: Package) -> None:
    """The tree that is read from the text has the parents and exit codes of the classes that it makes."""
    from shieldwall.core import errors

    for name, found in package.errors.items():
        kind = getattr(errors, name)
        assert kind.exit_code == found.exit_code
        assert kind.__mro__[1].__name__ == (found.parent or "Exception")


def test_every_registry_is_there_with_all_that_is_built_in(package: Package, pages: dict[str, str]) -> None:
    from shieldwall.data.corpora import CORPORA
    from shieldwall.data.tables import TABLES
    from shieldwall.models.families import FAMILIES
    from shieldwall.schedule.policies import SCHEDULES

    declared = sum(len(re.findall(r"(?m)^\w+ = Registry\(", text)) for text in package.texts.values())
    assert len(list(find_registries(package))) == declared
    for registry in (CORPORA, FAMILIES, SCHEDULES, TABLES):
        part = pages["extensions.md"].split(f"\n## {registry.group}\n")[1].split("\n## ")[0]
        for name in registry._built_in:
            assert re.search(rf"^\| `{name}` \| \S.* \| `shieldwall\.[\w.]+:\w+` \|$", part, re.MULTILINE)


def test_links_lead_somewhere(pages: dict[str, str]) -> None:
    """Files exist, and so do the headings, spelt as GitHub spells them."""
    anchors = {
        name: {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"(?m)^#+ (.+)$", page)}
        for name, page in pages.items()
    }
    for name, page in pages.items():
        links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page)
        assert links or name == "configuration.md"
        for file, anchor in links:
            assert (REFERENCE / (file or name)).resolve().is_file(), f"{file} in {name}"
            assert not anchor or anchor in anchors[file or name], f"#{anchor} in {name}"


def test_nothing_of_this_machine_is_in_the_pages(pages: dict[str, str]) -> None:
    machine = [str(Path.home()), str(Path(shieldwall.__file__).parents[2]), " object at 0x", "Sentinel"]
    assert [(word, name) for name, page in pages.items() for word in machine if word in page] == []


class OneSection(BaseModel):
    """A section."""

    key: int = Field(1, ge=1, description="what it means")


class OneKey(BaseModel):
    """Everything."""

    part: OneSection = Field(default_factory=OneSection)


@pytest.mark.parametrize(
    ("default", "settings", "row"),
    [
        (1, {"ge": 1, "description": "what it means"}, "`1` | at least 1 | what it means"),
        (2, {"ge": 1, "description": "what it means"}, "`2` | at least 1 | what it means"),
        (1, {"gt": 0, "description": "what it means"}, "`1` | above 0 | what it means"),
        (1, {"ge": 1, "description": "another"}, "`1` | at least 1 | another"),
    ],
)
def test_a_changed_key_changes_the_page(default: int, settings: dict[str, Any], row: str) -> None:
    class Section(BaseModel):
        """A section."""

        key: int = Field(default, **settings)

    class Other(BaseModel):
        """Everything."""

        part: Section = Field(default_factory=Section)

    page = render_configuration(Other)
    assert f"| `part.key` | integer | {row} |" in page
    assert (page == render_configuration(OneKey)) == (row == "`1` | at least 1 | what it means")


def test_a_changed_option_changes_the_page(package: Package) -> None:
    def page_of(default: int, text: str, least: int) -> str:
        app = typer.Typer()

        @app.command()
        def only(number: int = typer.Option(default, help=text, min=least)) -> None:
            """Do it."""

        return render_commands(package, {"tool": app})

    assert "| `--number INTEGER` | `1` | How many. (at least 0) |" in page_of(1, "How many.", 0)
    assert "| `--number INTEGER` | `2` | How many. (at least 0) |" in page_of(2, "How many.", 0)
    assert "| `--number INTEGER` | `1` | How much. (at least 3) |" in page_of(1, "How much.", 3)


def test_a_changed_signature_or_docstring_changes_the_page(package: Package, pages: dict[str, str]) -> None:
    assert render_python(package) == pages["python.md"]
    default = edited(package, "shieldwall.run.evaluate", "    batch: int = 8,\n", "    batch: int = 9,\n")
    assert "    batch: int = 9,\n" in render_python(default)
    about = edited(package, "shieldwall.run.evaluate", "batch: rows at once;", "batch: rows together;")
    assert "- `batch`: rows together;" in render_python(about)


def test_a_new_code_needs_a_page_and_a_class(package: Package) -> None:
    new = replace(package, texts={**package.texts, "shieldwall.new": 'raise ModelError("SW-M199", "new")\n'})
    with pytest.raises(LookupError, match=r"SW-M199\.md has no title that begins with SW-M199"):
        render_errors(new, ERROR_PAGES)
    strange = replace(package, texts={**package.texts, "shieldwall.new": 'strange("SW-M199", "new")\n'})
    with pytest.raises(LookupError, match=r"SW-M199 in shieldwall\.new: strange is no class of errors"):
        render_errors(strange, ERROR_PAGES)
    double = replace(package, texts={**package.texts, "shieldwall.new": 'raise ModelError("SW-C101", "new")\n'})
    with pytest.raises(LookupError, match=r"SW-C101 is a ConfigError and a ModelError"):
        render_errors(double, ERROR_PAGES)


def test_a_new_registry_is_told_or_refused(package: Package) -> None:
    target = '"shieldwall.schedule.policies.gpipe:order"'
    plain = f'"""News."""\n\nNEWS = Registry("shieldwall.news", {{"first": {target}}})\n'
    told = Package({**package.texts, "shieldwall.news": plain + '"""Name to a function."""\n'})
    assert "\n## shieldwall.news\n\nNews.\n\n**An entry:** Name to a function.\n" in render_extensions(told)
    with pytest.raises(LookupError, match=r"shieldwall\.news\.NEWS has no docstring"):
        render_extensions(Package({**package.texts, "shieldwall.news": plain}))
    with pytest.raises(LookupError, match=r"shieldwall\.news\.NEWS is not Registry\(GROUP"):
        render_extensions(Package({**package.texts, "shieldwall.news": plain.replace(target, "TARGET")}))


def test_a_docstring_becomes_paragraphs_lists_and_code() -> None:
    text = """One line
goes on, see docs/data.md and SW-C101 | `SW-C102`, a*b.

    d = |a - b|

- one
- two,
  and more

Args:
    first: what it
        means.
    second: likewise.

Returns:
    The sum.
"""
    assert docstring(text) == [
        "One line goes on, see [data.md](../data.md) and [SW-C101](../errors/SW-C101.md) | `SW-C102`, a\\*b.",
        "```\nd = |a - b|\n```",
        "- one\n- two, and more",
        "**Args**",
        "- `first`: what it means.\n- `second`: likewise.",
        "**Returns**",
        "- The sum.",
    ]
