"""Where the initiator's own stages get tokens from; no other host ever has a feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tokens (B, T) and what the mean loss on them is divided by before the backward pass.

    The divisor is all targets of the step over the targets here, so that each target of a step weighs the same; with
    blocks of one length it is the number of micro-batches.
    """

    tokens_BT: Tensor  # noqa: N815 (the shape is in the name)
    loss_divisor: float


class Feed(Protocol):
    """Gives the tokens of each micro-batch."""

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on."""

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """What is evaluated in place `micro_batch`."""
