"""docs/how-to-add-a-family.md, followed to the letter: its package is installed and its commands are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from shieldwall.core import registry
from shieldwall.models.families import FAMILIES
from shieldwall.models.families.gpt2 import GPT2

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to-add-a-family.md").read_text()
SMALL = ["model.width=16", "model.heads=2", "data.vocabulary=300", "data.block_tokens=16", "data.eval_blocks=8"]


@dataclass(frozen=True)
class Command:
    """A command of the page and what the page shows as its output."""

    words: list[str]
    shown: str


def block(language: str) -> str:
    """The only code block of the page in that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


def commands() -> list[Command]:
    """All commands of the page in order."""
    found = []
    for text in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL):
        for part in text.removeprefix("$ ").split("\n$ "):
            line, _, shown = part.partition("\n")
            found.append(Command(shlex.split(line), shown.strip()))
    return found


def masked(text: str) -> list[str]:
    """Lines without their numbers."""
    return re.sub(r"[0-9a-f]{64}|\d[\d.,]*", "#", text).strip().splitlines()


def run(words: list[str], folder: Path, path: list[Path]) -> str:
    """Standard output of a command as this environment's Python runs it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
    done = subprocess.run(
        [*program, *words[1:]], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    """Install, train in stages, evaluate by transformers alone, prove the bits; smaller than on the page."""
    package, site, path = tmp_path / "package", tmp_path / "site", [tmp_path / "site", ROOT / "src"]
    package.mkdir()
    (package / "shieldwall_phi.py").write_text(block("python"))
    (package / "pyproject.toml").write_text(block("toml"))
    small = [word for setting in SMALL for word in ("--set", setting)]
    install, train, evaluate, prove = commands()

    offline = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    run([*install.words, *offline, "--target", str(site)], package, [])
    assert masked(run([*train.words, *small], tmp_path, path)) == masked(train.shown)
    assert masked(run(evaluate.words, tmp_path, path)) == masked(evaluate.shown)
    last_line = run([*prove.words, "-p", "no:cacheprovider", "--color=no"], ROOT, path).splitlines()[-1].strip("= ")
    assert masked(last_line) == masked(prove.shown)
    assert int(last_line.split(" passed")[0]) >= 10


def test_the_page_names_the_built_in_families() -> None:
    listed = PAGE.split("Built in are")[1].split(". Here is")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(FAMILIES._built_in)


def test_a_package_cannot_replace_a_built_in_family(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint(name, "json:JSONDecoder", FAMILIES.group) for name in ("gpt2", "phi")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == FAMILIES.group else [])
    assert FAMILIES["gpt2"] is GPT2
    assert FAMILIES["phi"].__name__ == "JSONDecoder"
