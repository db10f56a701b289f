"""A small run of LoRA, and what tests change about what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

from commands import overrides, shieldwall

LORA = ["model.lora_rank=4", "pipeline.stages=3", "optimizer.learning_rate=0.01"]


def train_adapters(folder: Path) -> Path:
    """The run's folder; the way is the command's."""
    result = shieldwall("train", "--run", folder, *overrides(*LORA))
    assert result.code == 0, result.err
    return folder


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
