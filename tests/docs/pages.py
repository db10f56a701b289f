"""A page of the documentation as something that can be followed: its files, commands, what they print, its Python.

```console      lines that begin with "$ " are commands ("> " goes on with one); the others are what they print
```python       run as it stands
```toml title="run.toml"     written to that file before what follows
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r'^```(\w+)(?: title="([\w./-]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SHELL = f"""
set -euo pipefail
shieldwall() {{ "{sys.executable}" -m shieldwall "$@"; }}
python() {{ "{sys.executable}" "$@"; }}
"""


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


def follow(page: Path, folder: Path) -> None:
    """Do in `folder` what the page says, in its order, and hold what is printed against what it shows."""
    done = 0
    for fence in fences(page):
        if fence.title:
            (folder / fence.title).write_text(fence.body)
        elif fence.kind == "console":
            for command in commands(fence.body):
                _compare(command, _run(["bash", "-c", _SHELL + command.text], folder, command.text))
                done += 1
        elif fence.kind == "python":
            _run([sys.executable, "-c", fence.body], folder, fence.body)
            done += 1
    assert done, f"{page.name} has nothing to follow"


def _run(command: list[str], folder: Path, text: str) -> str:
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **quiet})
    assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout + ended.stderr


def _compare(command: Command, printed: str) -> None:
    """Every line that the page shows is among those printed, in its order; figures and roots may differ."""
    lines = iter(_masked(line) for line in printed.splitlines())
    for line in command.shown:
        if line.strip() and line.strip() != "...":
            assert _masked(line) in lines, f"{command.text}\ndoes not print\n{line}\nbut\n{printed}"


def _masked(line: str) -> str:
    without_roots = re.sub(r"\b[0-9a-f]{16,}\b", "#", line.rstrip())
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]*\d", "#", without_roots))
