"""The runs that are disturbed, and what they are held against: the same in one process, left alone."""

from __future__ import annotations

from pathlib import Path

from shieldwall.config import Config
from shieldwall.run.train import train


def settings_of(steps: int, topology: str) -> list[str]:
    """A small model in six stages on the initiator and four workers, checked by duplicates."""
    return [
        "run.threads=1",
        f"run.steps={steps}",
        "model.width=16",
        "model.heads=2",
        "data.vocabulary=300",
        "data.block_tokens=16",
        "data.eval_blocks=8",
        "evaluation.every_steps=0",
        "checkpoint.every_steps=3",
        "optimizer.warmup_steps=2",
        f"pipeline.topology={topology}",
    ]


def undisturbed_root(folder: Path, settings: list[str]) -> str:
    """`weights_root` of the run that nothing happens to."""
    return train(Config.load(None, settings), folder=folder).summary.weights_root
