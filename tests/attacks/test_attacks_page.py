"""docs/attacks.md and the listing: every kind and key as the code has it, and the example followed to the letter."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from shieldwall.attacks import ATTACKS, describe, list_attacks, read_attacks, render_attacks
from shieldwall.attacks.spec import COMMON_KEYS, AttackSpec
from shieldwall.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
TOML = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the page's table under that first column, by their first cell; code marks taken off it."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {cells[0].strip("`"): cells[1:] for cells in rows}


def parameters(about: dict[str, Any]) -> str:
    cells = []
    for each in about["parameters"]:
        default = json.dumps(each["default"])
        words = f" ({', '.join(each['choices'])})" if each["choices"] else ""
        cells.append(f"`{each['name']} = {default}`{words}")
    return "; ".join(cells)


def test_the_page_lists_every_kind_as_it_is() -> None:
    told = table("kind")
    assert list(told) == list(ATTACKS._built_in)
    for kind, (row, direction, said, formula, caught_by) in told.items():
        about = describe(kind)
        assert row == str(about["row"] or "")
        assert direction == ("any" if about["directions"] else "none")
        assert said == parameters(about)
        assert formula == about["formula"]
        assert caught_by == about["caught_by"]


def test_the_page_lists_every_key_with_its_default() -> None:
    told = table("key")
    assert tuple(told) == COMMON_KEYS
    for key, (default, _) in told.items():
        field = AttackSpec.model_fields[key]
        if key in ("kind", "stage"):
            assert field.is_required()
            assert default == "needed"
        elif key in ("rate", "from_step"):
            assert default == f"`{field.default}`"
    (spec,) = read_attacks([{"kind": "scale", "stage": 1}], "the page")
    assert told["direction"][0] == f'`"{spec.direction}"`'
    assert spec.seed is None


def test_the_tables_of_the_page_are_read() -> None:
    configurations = [text for text in TOML if "[[attack]]" in text]
    assert len(configurations) == 2
    for text in configurations:
        assert len(read_attacks(tomllib.loads(text)["attack"], "the page")) == 2


def test_the_listing_is_plain_data_and_a_table() -> None:
    assert json.loads(json.dumps(list_attacks())) == list_attacks()
    assert [each["kind"] for each in list_attacks()] == list(ATTACKS)
    lines = render_attacks().splitlines()
    assert max(map(len, lines)) <= 126
    assert [line.split()[0] for line in lines if line[0] not in " -"] == ["kind", *ATTACKS]
    scale = next(line for line in lines if line.startswith("scale "))
    assert re.split(r"  +", scale)[:5] == ["scale", "5", "any", "factor = 10.0", "a' = factor * a; g' = factor * g"]


def test_describe_knows_no_other_kind() -> None:
    with pytest.raises(ConfigError, match=r'SW-A101: there is no attack of the kind "scal"[\s\S]+did you mean "scale"'):
        describe("scal")


def test_an_attack_of_a_package_can_be_added_as_the_page_says(tmp_path: Path) -> None:
    package, site = tmp_path / "package", tmp_path / "site"
    package.mkdir()
    (module,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (project,) = [text for text in TOML if "[build-system]" in text]
    (package / "shieldwall_shuffle.py").write_text(module)
    (package / "pyproject.toml").write_text(project)
    (console,) = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    install, prove, shown = console.strip().splitlines()

    offline = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    run([*shlex.split(install.removeprefix("$ ")), *offline, "--target", str(site)], package, [])
    words = [*shlex.split(prove.removeprefix("$ ")), "-p", "no:cacheprovider", "--color=no"]
    last_line = run(words, ROOT, [site, ROOT / "src"]).splitlines()[-1].strip("= ")
    assert last_line.split(", ")[0] == shown.split(", ")[0] == "10 passed"


def run(words: list[str], folder: Path, path: list[Path]) -> str:
    """Standard output of a command as this environment's Python runs it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
    done = subprocess.run(
        [*program, *words[1:]], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
