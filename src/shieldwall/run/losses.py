"""A host is lost, and nobody can take its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shieldwall.core.errors import RunError


def nobody_else(lost: Mapping[str, float], folder: Path) -> RunError:
    """The error SW-V301.

    Args:
        lost: who, and for how long nothing had been heard of each, in seconds.
        folder: of the run.
    """
    silent = ", ".join(f"{name} silent for {silent_s:.1f} s" for name, silent_s in lost.items())
    return RunError(
        "SW-V301",
        f"{', '.join(lost)} is gone, and nobody else has what it held",
        expected='two holders of each state: verify.policy = "duplicate"',
        got=silent,
        state="the last checkpoint stands",
        remedy=f"start the worker again, and go on with shieldwall train --run {folder} --resume --listen HOST:PORT",
    )
