"""What the initiator's own stages work on, micro-batch by micro-batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from shieldwall.config import Config
from shieldwall.data import Batches, BatchOrder, Blocks, RowBatch, evaluation_batches
from shieldwall.pipeline.feed import MicroBatch


class BlockFeed:
    """Tokens and labels for the initiator's host, from rows.

    Args:
        blocks: training and evaluation rows.
        config: of the run.
    """

    def __init__(self, blocks: Blocks, config: Config) -> None:
        pipeline = config.pipeline
        order = BatchOrder(len(blocks.train), pipeline.micro_batches, config.micro_batch_size, config.run.seed)
        self._batches = Batches(blocks.train, order)
        self._step = -1
        self._taken: tuple[RowBatch, ...] = ()
        self.evaluation_batches: list[RowBatch] = evaluation_batches(blocks.eval, config.micro_batch_size)

    def positions(self, step: int) -> Mapping[int, Tensor]:
        """Positions (B, T) of those micro-batches in which a row holds several examples."""
        taken = enumerate(self._take(step))
        return {index: batch.positions_BT for index, batch in taken if batch.positions_BT is not None}

    def shapes(self, step: int, width: int) -> dict[int, tuple[int, ...]]:
        """Shape (B, T, `width`) of what crosses the borders in each micro-batch of `step`."""
        return {index: (*batch.tokens_BT.shape, width) for index, batch in enumerate(self._take(step))}

    def evaluation_shapes(self, width: int) -> dict[int, tuple[int, ...]]:
        """The same for evaluation."""
        return {index: (*batch.tokens_BT.shape, width) for index, batch in enumerate(self.evaluation_batches)}

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on; each target of the step weighs the same."""
        taken = self._take(step)
        batch = taken[micro_batch]
        return MicroBatch(batch.tokens_BT, batch.labels_BT, float(_targets(taken) / batch.targets))

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """What is evaluated in place `micro_batch`."""
        batch = self.evaluation_batches[micro_batch]
        return MicroBatch(batch.tokens_BT, batch.labels_BT, 1.0)

    def tokens(self, step: int) -> int:
        """Tokens of `step`, padding left out."""
        return sum(batch.tokens for batch in self._take(step))

    def training_loss(self, step: int, losses: Mapping[int, float]) -> float:
        """Mean loss over all targets of `step`, from the mean loss of each micro-batch."""
        return _mean(self._take(step), losses)

    def evaluation_loss(self, losses: Mapping[int, float]) -> float:
        """Mean loss over all evaluation targets, from the mean loss of each micro-batch."""
        return _mean(self.evaluation_batches, losses)

    def _take(self, step: int) -> tuple[RowBatch, ...]:
        """The micro-batches of a step; those of the last step asked for are kept."""
        if step != self._step:
            self._step, self._taken = step, self._batches.step(step)
        return self._taken


def _targets(batches: Sequence[RowBatch]) -> int:
    return sum(batch.targets for batch in batches)


def _mean(batches: Sequence[RowBatch], losses: Mapping[int, float]) -> float:
    return math.fsum(losses[index] * batch.targets for index, batch in enumerate(batches)) / _targets(batches)
