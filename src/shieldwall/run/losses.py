"""Hosts that are lost: what the run tells of them, and the error where nobody can take their place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shieldwall.core.errors import StateLostError

GONE_AS = {"memory": "has run out of memory", "disk": "has no room on its disk"}
"""How it is said why a worker went, by kind; of all others that it is gone."""


def nobody_else(lost: Mapping[str, float], folder: Path) -> StateLostError:
    """The error SW-V301.

    Args:
        lost: who, and for how long nothing had been heard of each, in seconds.
        folder: of the run.
    """
    silent = ", ".join(f"{name} silent for {silent_s:.1f} s" for name, silent_s in lost.items())
    return StateLostError(
        "SW-V301",
        f"{', '.join(lost)} is gone, and nobody else has what it held",
        expected='two holders of each state: verify.policy = "duplicate"',
        got=silent,
        state="the last checkpoint stands",
        remedy=f"start the worker again, and go on with shieldwall train --run {folder} --resume --listen HOST:PORT",
    )


@dataclass(slots=True)
class _Loss:
    step: int
    worker: str
    kind: str
    detected_s: float
    noticed_s: float
    resumed_s: float | None = None


class Losses:
    """Hosts that were lost and that no line of `metrics.jsonl` tells of yet; outlives a return to a checkpoint."""

    def __init__(self) -> None:
        self._pending: list[_Loss] = []
        self.barred: dict[str, str] = {}
        """Who has missed a deadline, and what was waited for: they are given nothing any more."""

    def add(self, step: int, worker: str, detected_s: float, kind: str = "gone") -> None:
        """A host is lost while `step` is in work: nothing had been heard of it for `detected_s`, or it is as late."""
        self._pending.append(_Loss(step, worker, kind, detected_s, time.perf_counter()))

    def resume(self) -> None:
        """Everybody's duties are in good hands again."""
        now_s = time.perf_counter()
        for loss in self._pending:
            if loss.resumed_s is None:
                loss.resumed_s = now_s - loss.noticed_s

    @property
    def workers(self) -> list[str]:
        """Who was lost and is not made up for."""
        return [loss.worker for loss in self._pending if loss.resumed_s is None]

    def take(self) -> list[dict[str, Any]]:
        """All of them as rows of `failures`, which are told with that."""
        self.resume()
        lines = [
            {
                "step": loss.step,
                "worker": loss.worker,
                "kind": loss.kind,
                "detected_s": round(loss.detected_s, 3),
                "resumed_s": round(loss.resumed_s or 0.0, 3),
            }
            for loss in self._pending
        ]
        self._pending.clear()
        return lines
