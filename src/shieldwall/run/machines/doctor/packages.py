"""Versions: what is installed against what the package needs, and against what the run has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

from shieldwall.core.version import VERSION
from shieldwall.run.machines.doctor.finding import Finding, bad, good

PYTHON = ((3, 11), (3, 14))
"""From the first, and before the second."""
LEAST = {"torch": "2.6", "transformers": "5", "grpcio": "1.71", "protobuf": "6.33", "cryptography": "44"}
"""Those that a worker's machine is likeliest to have in another version; the same numbers as in `pyproject.toml`."""
_DECIDE_BITS = ("torch", "transformers")

Installed = Callable[[str], str]
"""The version of a package; raises `PackageNotFoundError` where there is none."""


def package_versions(installed: Installed = version) -> dict[str, str]:
    """The versions that must agree between the machines of a run, builds such as `+cu126` left out."""
    return {"shieldwall": VERSION, **{name: installed(name).partition("+")[0] for name in _DECIDE_BITS}}


def check_python(running: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether this Python is one that the package is made for."""
    words = ".".join(map(str, running))
    least, below = PYTHON
    if least <= running[:2] < below:
        return good("python", words)
    wanted = f"{_dotted(least)} or later, before {_dotted(below)}"
    return bad("python", words, f"install Python {wanted}, and shieldwall in it", prevents=False)


def check_package(name: str, installed: Installed = version) -> Finding:
    """Whether a package is there, and not older than `LEAST`."""
    least = LEAST[name]
    remedy = f"pip install -U '{name}>={least}'"
    try:
        found = installed(name)
    except PackageNotFoundError:
        return bad("package", "not installed", remedy, name)
    if _numbers(found) >= _numbers(least):
        return good("package", found, name)
    return bad("package", f"{found}, and {least} is the oldest that works", remedy, name)


def compare_versions(of_run: Mapping[str, str], here: Mapping[str, str]) -> list[Finding]:
    """Whether this machine has the run's versions: of shieldwall to be understood, of the others for the same bits."""
    return [_compare(name, of_run.get(name, "unknown"), mine) for name, mine in here.items()]


def _compare(name: str, theirs: str, mine: str) -> Finding:
    if theirs == mine:
        return good("same version", f"{mine} here and at the run", name)
    why = " (other versions give other bits, so the run takes none in)" if name in _DECIDE_BITS else ""
    remedy = f"pip install {name}=={theirs}, or the other way round at the run{why}"
    saw = f"{mine} here, {theirs} at the run"
    return bad("same version", saw, remedy, name)


def _numbers(words: str) -> tuple[int, ...]:
    """The release of a version as numbers: 2.13.0 of `2.13.0+cpu`, 2.14 of `2.14.dev3`."""
    numbers = []
    for part in words.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
