"""Running the command line, inside this process where that is enough, as a process of its own where it is not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

from shieldwall.cli import main

TINY = [
    "run.threads=1",
    "run.steps=6",
    "model.width=16",
    "model.heads=2",
    "data.vocabulary=300",
    "data.block_tokens=16",
    "data.eval_blocks=8",
    "evaluation.every_steps=3",
    "checkpoint.every_steps=2",
    "optimizer.warmup_steps=2",
]
"""Overrides for a run of seconds."""


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def overrides(*settings: str) -> list[str]:
    return [part for setting in (*TINY, *settings) for part in ("--set", setting)]


def shieldwall(*arguments: str | Path) -> Finished:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.object(sys, "argv", ["shieldwall", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    return Finished(code, out.getvalue(), err.getvalue())


def start(*arguments: str | Path, warm: Path | None = None, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own; without the wait for imports where the `warm` programs are given."""
    program = [str(warm / "shieldwall")] if warm else [sys.executable, "-m", "shieldwall"]
    command = [*program, *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **{**pipes, **options})


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Until the condition holds or the process has ended; looks often, and leaves the processor to the process."""
    pause = Event()
    while not condition() and process.poll() is None:
        pause.wait(0.0005)


def finish(process: subprocess.Popen[str]) -> Finished:
    out, err = process.communicate(timeout=120)
    return Finished(process.returncode, out, err)
