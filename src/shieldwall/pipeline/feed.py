"""Where the initiator's own stages get tokens from; no other host ever has a feed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What the initiator's stages work on in one micro-batch."""

    tokens_BT: Tensor  # noqa: N815 (the shape is in the name)
    """(B, T) int64 token ids; padding on the right."""
    labels_BT: Tensor  # noqa: N815
    """(B, T) int64; the token itself where it is to be predicted from those before it, `IGNORED` where not."""
    loss_divisor: float
    """What the mean loss is divided by before the backward pass: all targets of the step over the targets here, so that
    each target of a step weighs the same. With blocks of one length it is the number of micro-batches."""


class Feed(Protocol):
    """Gives the tokens of each micro-batch."""

    def positions(self, step: int) -> Mapping[int, Tensor]:
        """Positions (B, T) int64 of those micro-batches of `step` in which a row holds several examples."""

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on."""

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """What is evaluated in place `micro_batch`."""
