"""Small random models of a family, written as a checkpoint so that every model is loaded in the same way."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from shieldwall.core.seeds import weights_seed
from shieldwall.models.families import TinyShape, find_family
from shieldwall.models.quiet import without_progress_bars


def write_tiny(family_name: str, shape: TinyShape, seed: int, folder: Path) -> None:
    """Draw the weights from `weights_seed(seed)` and save them in Hugging Face layout under `folder`.

    Torch's generator is left as it was.

    Raises:
        ModelError: SW-M101; the family is not known.
    """
    config = find_family(family_name, f"model.name = tiny:{family_name}").tiny_config(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed(seed))
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with without_progress_bars():
        model.save_pretrained(folder)
