"""What the initiator's own stages work on, micro-batch by micro-batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from shieldwall.config import Config
from shieldwall.data import Batches, BatchOrder, Blocks, evaluation_batches
from shieldwall.pipeline.feed import MicroBatch
from shieldwall.run.evaluate import predicted_tokens


class BlockFeed:
    """Tokens for the initiator's host, from blocks of one length.

    Args:
        blocks: training and evaluation blocks.
        config: of the run.
    """

    def __init__(self, blocks: Blocks, config: Config) -> None:
        pipeline = config.pipeline
        order = BatchOrder(len(blocks.train_NT), pipeline.micro_batches, config.micro_batch_size, config.run.seed)
        self._batches = Batches(blocks.train_NT, order)
        self._divisor = float(pipeline.micro_batches)
        self.evaluation_batches: list[Tensor] = evaluation_batches(blocks.eval_NT, config.micro_batch_size)

    def positions(self, step: int) -> Mapping[int, Tensor]:
        """Every row is one sequence."""
        del step
        return {}

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on."""
        tokens_BT = self._batches.micro_batch(step, micro_batch)
        return MicroBatch(tokens_BT, tokens_BT, self._divisor)

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """What is evaluated in place `micro_batch`."""
        tokens_BT = self.evaluation_batches[micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, 1.0)

    def training_loss(self, step: int, losses: Mapping[int, float]) -> float:
        """Mean loss over all targets of `step`, from the mean loss of each micro-batch."""
        del step
        return math.fsum(losses.values()) / len(losses)

    def evaluation_loss(self, losses: Mapping[int, float]) -> float:
        """Mean loss over all evaluation targets, from the mean loss of each micro-batch."""
        targets = [predicted_tokens(tokens_BT) for tokens_BT in self.evaluation_batches]
        return math.fsum(losses[index] * targets[index] for index in losses) / sum(targets)
