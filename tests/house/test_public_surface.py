"""The exported names and their signatures are locked: a change here is a change for users and owes a changelog line."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import shieldwall

GOLDEN = Path(__file__).with_name("public_surface.txt")


def surface() -> str:
    lines = []
    for name in sorted(shieldwall.__all__):
        thing = getattr(shieldwall, name)
        if inspect.isclass(thing) and issubclass(thing, Exception):
            lines.append(f"{name}: exit code {getattr(thing, 'exit_code', '-')}, is a {thing.__mro__[1].__name__}")
        elif name == "Config":
            lines.append(f"{name}: {', '.join(shieldwall.Config.model_fields)}")
        else:
            lines.append(f"{name}{inspect.signature(thing)}")
    return "\n".join(lines) + "\n"


def test_exported_names_and_signatures() -> None:
    """After a deliberate change: `python tests/house/test_public_surface.py` writes the new list."""
    assert surface() == GOLDEN.read_text()


def test_all_names_what_can_be_had() -> None:
    assert set(shieldwall.__all__) == set(shieldwall._HOME)
    assert sorted(shieldwall.__all__) == list(shieldwall.__all__)
    for name in shieldwall.__all__:
        assert getattr(shieldwall, name).__doc__


def test_the_command_and_the_module_are_one() -> None:
    done = subprocess.run([sys.executable, "-m", "shieldwall", "--help"], capture_output=True, text=True, check=True)
    for command in ("train", "plan", "eval", "report", "demo", "config"):
        assert command in done.stdout


if __name__ == "__main__":
    GOLDEN.write_text(surface())
