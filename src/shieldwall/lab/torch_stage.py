"""One rank's share of GPT-2 under `torch.distributed.pipelining`, as a user of torch would write it.

The modules are Hugging Face's own; the schedules, the messages and the collectives are torch's, over gloo. What
pipelining leaves to its user is done here: GPT-2's head is tied to its embeddings, so the first and the last rank add
their two gradients of that weight (each keeps a copy and updates it alike), and clipping needs the norm over all ranks,
in which that weight counts once.

Gloo sends from host memory alone, and NCCL refuses two ranks on one GPU. So what passes between two ranks is copied
through host memory where the ranks compute on a CUDA device; on a CPU nothing is copied.

Imports torch and transformers alone, but for what `whole.py` says of the subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from transformers import GPT2LMHeadModel

from shieldwall.lab.whole import ATTENTION, CLIP_NORM, LEARNING_RATE

_SCHEDULES = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}
_ON_HOST = torch.device("cpu")


class Gpt2Part(nn.Module):
    """Consecutive layers of GPT-2; embeddings before the first of them, norm and head after the last.

    Args:
        model: the whole model; only the modules of this part are kept.
        layers: indices of the first layer, and of the one after the last.
        device: where the part computes.
    """

    def __init__(self, model: GPT2LMHeadModel, layers: tuple[int, int], device: torch.device) -> None:
        super().__init__()
        body = model.transformer
        self.embeddings = nn.ModuleDict({"wte": body.wte, "wpe": body.wpe}) if layers[0] == 0 else None
        self.drop = body.drop
        self.layers = nn.ModuleList(body.h[layers[0] : layers[1]])
        self.head = nn.Sequential(body.ln_f, model.lm_head) if layers[1] == len(body.h) else None
        self._device = device
        self.to(device)

    def forward(self, value: Tensor) -> Tensor:
        """Tokens (B, T) or activation (B, T, D) to activation (B, T, D), or to logits (B, T, V) at the model's end.

        What comes in and activations that go out are in host memory; logits stay on the device, for the loss.
        """
        hidden_BTD = value.to(self._device)
        if self.embeddings is not None:
            positions_1T = torch.arange(value.shape[1], device=self._device).unsqueeze(0)
            hidden_BTD = self.drop(self.embeddings["wte"](hidden_BTD) + self.embeddings["wpe"](positions_1T))
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, use_cache=False)
        if self.head is None:
            return hidden_BTD.to(_ON_HOST)
        logits_BTV: Tensor = self.head(hidden_BTD)
        return logits_BTV

    @property
    def tied(self) -> nn.Parameter | None:
        """The weight of which the other end of the model has a copy; None between the ends."""
        if self.embeddings is not None:
            return self.get_parameter("embeddings.wte.weight")
        return None if self.head is None else self.get_parameter("head.1.weight")

    def counted(self) -> list[nn.Parameter]:
        """Parameters that count in the global norm here: all but the head's copy of the tied weight."""
        parameters = list(self.parameters())
        return parameters if self.head is None else [each for each in parameters if each is not self.tied]


class StageTrainer:
    """Trains one rank's part under one schedule; all ranks of the default process group must train the same steps.

    Args:
        folder: a GPT-2 in Hugging Face layout; dropout must be 0.
        steps: for each step its micro-batches of tokens (B, T).
        layers: of this rank.
        schedule: "gpipe" or "1f1b".
        ends: the process group of the first and the last rank.
        device: where this rank computes.
    """

    def __init__(
        self,
        folder: Path,
        steps: Sequence[Sequence[Tensor]],
        *,
        layers: tuple[int, int],
        schedule: str,
        ends: dist.ProcessGroup,
        device: torch.device,
    ) -> None:
        model = GPT2LMHeadModel.from_pretrained(folder, attn_implementation=ATTENTION, dtype=torch.float32).train()
        self._hugging_face_loss, self._vocabulary = model.loss_function, model.config.vocab_size
        self._part = Gpt2Part(model, layers, device)
        self._optimizer = torch.optim.AdamW(self._part.parameters(), lr=LEARNING_RATE, fused=True, foreach=False)
        self._steps, self._ends, self._device = steps, ends, device
        self._micro_batches = len(steps[0])
        stage = PipelineStage(self._part, dist.get_rank(), dist.get_world_size(), _ON_HOST)
        self._schedule: Any = _SCHEDULES[schedule](
            stage, self._micro_batches, loss_fn=self._share_of_loss, scale_grads=False
        )

    def train(self, first: int, last: int) -> list[float]:
        """Train the steps `first` to `last - 1`; each step's loss in nats on the last rank, nothing on the others."""
        losses = [self._train_step(torch.cat(list(self._steps[step]))) for step in range(first, last)]
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return [loss for loss in losses if loss is not None]

    def _train_step(self, tokens_BT: Tensor) -> float | None:
        """One step on all its sequences. Its logits are not gathered: nobody looks at them."""
        shares: list[Tensor] = []
        inputs = (tokens_BT,) if self._part.embeddings is not None else ()
        target = tokens_BT if self._part.head is not None else None
        self._schedule.step(*inputs, target=target, losses=shares, return_outputs=False)
        self._add_tied_gradients()
        self._clip()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return sum(float(share.detach()) for share in shares) if shares else None

    def _share_of_loss(self, logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
        loss: Tensor = self._hugging_face_loss(logits_BTV, labels_BT, vocab_size=self._vocabulary)
        return loss / self._micro_batches

    def _add_tied_gradients(self) -> None:
        tied = self._part.tied
        if tied is not None and tied.grad is not None:
            both = tied.grad.to(_ON_HOST)
            dist.all_reduce(both, group=self._ends)
            tied.grad.copy_(both)

    def _clip(self) -> None:
        gradients = [each.grad for each in self._part.counted() if each.grad is not None]
        squared = torch.nn.utils.get_total_norm(gradients, foreach=False).to(_ON_HOST).square()
        dist.all_reduce(squared)
        norm = squared.sqrt()
        torch.nn.utils.clip_grads_with_norm_(self._part.parameters(), CLIP_NORM, norm, foreach=False)
