"""The unsplit model as a subject of benchmarks: Hugging Face's own object and torch's own optimizer.

Imports torch and transformers alone, as `plain.py` does, so that a process that trains it carries nothing of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from shieldwall.lab.plain import train_plain

LEARNING_RATE = 5e-4
CLIP_NORM = 1.0
ATTENTION = "sdpa"


def draw_tokens(vocabulary: int, shape: tuple[int, int, int], steps: int, seed: int) -> list[list[Tensor]]:
    """Random tokens for `steps` steps; `shape` is micro-batches, sequences in one, tokens in a sequence."""
    generator = torch.Generator().manual_seed(seed)
    return [list(torch.randint(vocabulary, shape, generator=generator).unbind()) for _ in range(steps)]


class PlainTrainer:
    """Plain training of the model in a folder.

    Args:
        folder: a model in Hugging Face layout.
        steps: for each step its micro-batches of tokens.
        fused: torch's fused AdamW; else what `torch.optim.AdamW(parameters)` is on a CPU, a loop over tensors.
        all_forwards_first: keep all graphs of a step before the first backward pass.
        device: where it computes.
    """

    def __init__(
        self,
        folder: Path,
        steps: Sequence[Sequence[Tensor]],
        *,
        fused: bool = True,
        all_forwards_first: bool = False,
        device: str = "cpu",
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=ATTENTION, dtype=torch.float32)
        self._model: PreTrainedModel = model.to(device).train()
        parameters = self._model.parameters()
        self._optimizer = (
            torch.optim.AdamW(parameters, lr=LEARNING_RATE, fused=True, foreach=False)
            if fused
            else torch.optim.AdamW(parameters, lr=LEARNING_RATE)
        )
        self._steps = [[tokens_BT.to(device) for tokens_BT in step] for step in steps]
        self._all_forwards_first = all_forwards_first

    async def train(self, first: int, last: int) -> list[float]:
        """Train the steps `first` to `last - 1` and return each step's loss."""
        return train_plain(
            self._model,
            self._steps[first:last],
            optimizer=self._optimizer,
            learning_rates=[LEARNING_RATE] * (last - first),
            clip_norm=CLIP_NORM,
            all_forwards_first=self._all_forwards_first,
        )
