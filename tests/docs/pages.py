"""A page of the documentation as something that can be followed: its files, commands, what they print, its Python.

```console      lines that begin with "$ " are commands ("> " goes on with one); the others are what they print
```python       run as it stands
```toml title="run.toml"     written to that file before what follows, whatever its language
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r'^```(\w+)(?: title="([\w./-]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One command and the lines that the page shows under it."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Fence:
    """One block of a page."""

    kind: str
    title: str
    body: str


def fences(page: Path) -> list[Fence]:
    return [Fence(kind, title, body) for kind, title, body in _FENCE.findall(page.read_text())]


def commands(body: str) -> Iterator[Command]:
    """The commands of a console block."""
    text: list[str] = []
    shown: list[str] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            if text:
                yield Command("\n".join(text), tuple(shown))
            text, shown = [line[2:]], []
        elif line.startswith("> ") and not shown:
            text.append(line[2:])
        else:
            shown.append(line)
    if text:
        yield Command("\n".join(text), tuple(shown))


def follow(page: Path, folder: Path, programs: Path) -> dict[str, str]:
    """Do in `folder` what the page says, in its order, and hold what is printed against what it shows.

    `programs` holds the `shieldwall` and the `python` that are run.

    Returns:
        What each command, and each piece of Python, printed.
    """
    printed: dict[str, str] = {}
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for fence in fences(page):
        if fence.title:
            (folder / fence.title).write_text(fence.body)
        elif fence.kind == "console":
            for command in commands(fence.body):
                printed[command.text] = _run(["bash", "-euo", "pipefail", "-c", command.text], folder, environment)
                _compare(command, printed[command.text])
        elif fence.kind == "python":
            printed[fence.body] = _run([str(programs / "python"), "-c", fence.body], folder, environment)
    assert printed, f"{page.name} has nothing to follow"
    return printed


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What the command prints, standard error among it as on a terminal."""
    ended = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert ended.returncode == 0, f"{command[-1]}\n{ended.stdout}"
    return ended.stdout


def _compare(command: Command, printed: str) -> None:
    """Every line that the page shows is among those printed, in its order; figures and roots may differ."""
    lines = iter(_masked(line) for line in printed.splitlines())
    for line in command.shown:
        if line.strip() and line.strip() != "...":
            assert _masked(line) in lines, f"{command.text}\ndoes not print\n{line}\nbut\n{printed}"


def _masked(line: str) -> str:
    without_roots = re.sub(r"(?<![\w.])[0-9a-f]{16,}\b", "#", line.rstrip())
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]*\d", "#", without_roots))
