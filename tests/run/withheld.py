"""Runs in one process whose workers keep something back, under deadlines of fractions of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from commands import TINY

from shieldwall import Config, train
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import Slot
from shieldwall.core.messages import Message
from shieldwall.core.signing import Signed
from shieldwall.pipeline.deadlines import Deadlines, Terms
from shieldwall.run import deployment
from shieldwall.run.planning import RunPlan
from shieldwall.run.session import TrainingSession
from shieldwall.transport import MemoryNetwork, StarNetwork
from shieldwall.transport.remote.passages import Passages

SHORT = Terms(least_s=0.4, first_s=0.4, times=1.0, look_s=0.02)
"""Everything here takes milliseconds."""
LEAN = [
    "pipeline.stages=5",
    "pipeline.micro_batches=2",
    "data.eval_blocks=4",
    "evaluation.every_steps=0",
    "checkpoint.every_steps=2",
    "run.steps=4",
]


@dataclass
class Withhold(Hook):
    """Keeps back the messages that fit, `count` of them at most, and says which."""

    fits: Callable[[str, Message], bool]
    count: int = 1
    kept: list[Message] = field(default_factory=list)

    async def before_post(self, destination: str, message: Message) -> Message | None:
        if len(self.kept) < self.count and self.fits(destination, message):
            self.kept.append(message)
            return None
        return message


class Seen:
    """What a network of one process has passed on; as the hub of a run over machines sees it."""

    def __init__(self) -> None:
        self.passages = Passages()

    def begin(self) -> None:
        self.passages.begin()

    def passed(
        self, slot: Slot, source: str, destination: str, statements: Iterable[Signed[Any]] | None = None
    ) -> bool | None:
        return self.passages.passed(slot, source, destination, statements)

    def moved_bytes(self, host: str) -> int | None:
        del host
        return None

    def is_held_up(self, host: str) -> bool:
        del host
        return False


def watch_network(monkeypatch: pytest.MonkeyPatch, seen: Seen) -> None:
    """Every network of this process tells what passes."""
    for kind in (MemoryNetwork, StarNetwork):

        class Watched(kind):  # type: ignore[valid-type, misc]
            def deliver(self, sender: str, destination: str, message: Message) -> None:
                seen.passages.note(sender, destination, message)
                super().deliver(sender, destination, message)

        monkeypatch.setattr(deployment, kind.__name__, Watched)


def run_withholding(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    hooks_of: dict[str, Sequence[Hook]],
    *settings: str,
    witness: bool = True,
    terms: Terms = SHORT,
) -> Any:
    """The summary of a run with these hooks, under deadlines."""
    seen = Seen() if witness else None
    if seen:
        watch_network(monkeypatch, seen)

    def deadlines(session: TrainingSession, machines: object, run_plan: RunPlan) -> Deadlines:
        del session, machines
        return Deadlines(costs=run_plan.costs, witness=seen, terms=terms)

    monkeypatch.setattr(TrainingSession, "_deadlines", deadlines)
    config = Config.load(None, [*TINY, *LEAN, *settings])
    return train(config, folder=folder, hooks_of=hooks_of).summary


def undisturbed(folder: Path, *settings: str) -> str:
    """Root of the weights of the same run without anybody bad, and without deadlines."""
    return train(Config.load(None, [*TINY, *LEAN, *settings]), folder=folder).summary.weights_root
