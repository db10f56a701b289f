"""Names of things that travel: directions, slots, and the parties of the initiator.

A slot names one piece of work of a step (design, "Slots and headers"): whoever signs for a slot signs for exactly
that run, view, attempt, step, micro-batch, direction and stage, so that nothing can be replayed elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

INITIATOR = "initiator"
"""The trusted host of the first and the last stage."""

COORDINATOR = "coordinator"
"""The initiator's desk: gives the orders of a step and gathers the reports."""

SERVER = "server"
"""The initiator's central server: in a star every tensor and statement between hosts passes it."""

MUSTER = "muster"
"""The initiator's party that hears what a worker on another machine can do, and that one cannot go on."""

DIRECTORY = "directory"
"""The initiator's directory: which workers other workers can dial, and where."""


class Direction(StrEnum):
    """Which way a tensor travels through the pipeline."""

    FORWARD = "forward"
    """An activation: the output of `stage`."""
    BACKWARD = "backward"
    """A gradient of the loss with respect to the input of `stage`, sent back by `stage`."""
    EVALUATION = "evaluation"
    """An activation that no gradient will answer."""


class Role(StrEnum):
    """As what a host holds a stage's state."""

    STAGE = "stage"
    """The one that the step runs on."""
    DUPLICATE = "duplicate"
    """The redundant copy that checks it, on another host."""


Place = tuple[Direction, int, int]
"""Direction, stage and micro-batch: what is left of a slot within one attempt of one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One piece of work: what `stage` makes of one micro-batch of one step in one direction.

    `view` numbers the assignment of stages to workers, `attempt` the initiator's orders to run a step again. Neither
    enters a random seed, so an honest re-run gives the same bits.
    """

    run: str
    view: int
    attempt: int
    step: int
    micro_batch: int
    direction: Direction
    stage: int

    def __str__(self) -> str:
        return f"step {self.step}, micro-batch {self.micro_batch}, {self.direction}, stage {self.stage}"

    @property
    def place(self) -> Place:
        """What is left of it within one attempt of one step."""
        return self.direction, self.stage, self.micro_batch

    def to_json(self) -> dict[str, Any]:
        """Plain data for signatures and the ledger."""
        return {
            "run": self.run,
            "view": self.view,
            "attempt": self.attempt,
            "step": self.step,
            "micro_batch": self.micro_batch,
            "direction": self.direction.value,
            "stage": self.stage,
        }


def worker_name(index: int) -> str:
    """The name of the `index`-th worker (from 0) where no machine has brought a name of its own."""
    return f"worker-{index + 1}"
