"""Runs whose workers lie, as tests write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w
from commands import TINY

from shieldwall import Config, Summary, train

SMALL = [*TINY, "run.steps=4", "evaluation.every_steps=2"]
"""Overrides for a run whose workers lie; shorter than a clean one, because each lie costs a judgement."""

LIAR: dict[str, Any] = {"kind": "sign_flip", "stage": 2}
"""Worker-2 lies in everything, both ways."""


def configured(attacks: list[dict[str, Any]], *settings: str, base: list[str] = SMALL) -> Config:
    """The configuration of a small run with attacks."""
    values = Config.load(None, [*base, *settings]).to_plain()
    return Config.parse({**values, **({"attack": attacks} if attacks else {})}, "a test")


def run(folder: Path, attacks: list[dict[str, Any]], *settings: str, base: list[str] = SMALL) -> Summary:
    """What a run with attacks ends with; without any where the list is empty."""
    return train(configured(attacks, *settings, base=base), folder=folder).summary


def write_config(path: Path, attacks: list[dict[str, Any]], *settings: str, base: list[str] = SMALL) -> Path:
    """The same as a file for the command."""
    path.write_text(tomli_w.dumps(configured(attacks, *settings, base=base).to_plain()))
    return path


def culprits(summary: Summary) -> set[str]:
    """Everybody who was found guilty."""
    return {row["culprit"] for row in summary.verdicts}
