"""From a cell to the configuration of its run: what anybody would write to run it by hand."""

from __future__ import annotations

from typing import Any

from shieldwall.config import Config
from shieldwall.lab.experiment.base import Subject
from shieldwall.lab.experiment.cell import Cell
from shieldwall.lab.experiment.scale import Scale
from shieldwall.models.span import even_cut

CLIP_NORM = 1.0
RESTART_ATTEMPTS = 64
"""How often a step is tried where the response is to try again: at rate 0.5 it takes two tries on average."""


def configure(cell: Cell, subject: Subject, scale: Scale) -> Config:
    """The configuration of the cell's run.

    Nobody is expelled, as in the paper, where the attacker is another stage in each step. The weights are saved at each
    point of the curve and measured out of the pipeline: an evaluation inside it would pass the attackers. The cut is
    even, whatever costs are measured: where it lies decides what one stage's lie is worth.

    Raises:
        ConfigError: SW-C1..., SW-A1...; the cell asks for what a configuration cannot say.
    """
    size = scale.size
    every = measured_every(cell)
    values: dict[str, Any] = {
        "run": {"seed": cell.seed, "steps": cell.steps, "threads": 1, "device": scale.device},
        "model": {"name": str(subject.base), "dropout": 0.0},
        "data": {
            "corpus": subject.texts.train,
            "block_tokens": size.block_tokens,
            "eval_blocks": scale.eval_blocks,
        },
        "pipeline": {
            "stages": size.stages,
            "micro_batches": size.micro_batches,
            "micro_batch_size": size.micro_batch_size,
            "topology": cell.topology,
            "cut": even_cut(subject.layers, size.stages),
        },
        "optimizer": {
            "kind": cell.optimizer,
            "learning_rate": cell.learning_rate,
            "warmup_steps": min(scale.warmup_steps, cell.steps // 10),
            "clip_norm": 0.0 if cell.clipping == "none" else CLIP_NORM,
            "clip_by": "stage" if cell.clipping == "stage" else "model",
        },
        "evaluation": {"every_steps": 0},
        "verify": _checks(cell),
        "respond": _response(cell),
        "checkpoint": {"every_steps": every, "keep": cell.steps // every + 1},
    }
    if cell.attack:
        values["attack"] = [cell.attack.to_table(cell.seed)]
    return Config.parse(values, str(cell))


def measured_every(cell: Cell) -> int:
    """Steps between two points of the curve, of which there may be fewer than wanted: the last step is always one."""
    least = -(-cell.steps // cell.points)
    return next(every for every in range(least, cell.steps + 1) if cell.steps % every == 0)


def _checks(cell: Cell) -> dict[str, Any]:
    if cell.response == "none":
        return {"policy": "none"}
    return {"policy": "duplicate", "when": "before_use", "evidence": False}


def _response(cell: Cell) -> dict[str, Any]:
    if cell.response == "none":
        return {}
    response: dict[str, Any] = {"policy": cell.response, "ban": False}
    return response | ({"attempts": RESTART_ATTEMPTS} if cell.response == "restart" else {})
