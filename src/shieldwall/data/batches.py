"""Which rows each micro-batch of each step holds: a pure function of the seed and the step.

    epoch 0             epoch 1             epoch 2
    | 3 0 4 1 2         | 1 4 2 0 3         | ...           permutations of all rows, one after the other
    | step 0 | step 1   | step 2  | step 3 | ...            M * B samples each; a step may span two epochs or more

Nothing is kept from one step to the next, so a run that resumes at a step sees the batches it would have seen.

Shapes: N rows, T tokens in a row, M micro-batches in a step, B rows in a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shieldwall.core.errors import CorpusError
from shieldwall.core.seeds import epoch_seed
from shieldwall.data.rows import RowBatch, Rows


@lru_cache(maxsize=4)
def epoch_permutation(seed: int, epoch: int, blocks_total: int) -> NDArray[np.int64]:
    """The order of all blocks in `epoch`: (blocks_total,) int64, read-only."""
    generator = np.random.Generator(np.random.PCG64(epoch_seed(seed, epoch)))
    order_N: NDArray[np.int64] = generator.permutation(blocks_total).astype(np.int64)
    order_N.setflags(write=False)
    return order_N


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """The numbers of the blocks that each step takes; each block comes exactly once in each epoch.

    Raises:
        CorpusError: SW-D118, a number is below 1.
    """

    blocks_total: int
    """Training blocks there are, N."""
    micro_batches: int
    """Micro-batches in a step, M."""
    micro_batch_size: int
    """Blocks in a micro-batch, B."""
    seed: int
    """The run's seed."""

    def __post_init__(self) -> None:
        for name in ("blocks_total", "micro_batches", "micro_batch_size"):
            _at_least_one(name, getattr(self, name))

    def indices(self, step: int) -> Tensor:
        """The numbers of the blocks of `step` (from 0): (M, B) int64 in [0, blocks_total).

        Raises:
            ValueError: the step is negative; a mistake of the caller.

        Cost: one permutation of N numbers where the epoch is not among the last few asked for.
        """
        if step < 0:
            raise ValueError(f"step {step} is negative")
        total, size = self.blocks_total, self.micro_batches * self.micro_batch_size
        first, end = step * size, (step + 1) * size
        parts = [
            epoch_permutation(self.seed, epoch, total)[max(first - epoch * total, 0) : end - epoch * total]
            for epoch in range(first // total, -(-end // total))
        ]
        return torch.from_numpy(np.concatenate(parts)).view(self.micro_batches, self.micro_batch_size)


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """Training rows in the order of a `BatchOrder`.

    Raises:
        ValueError: the order was made for another number of rows; a mistake of the caller.
    """

    rows: Rows
    order: BatchOrder

    def __post_init__(self) -> None:
        if len(self.rows) != self.order.blocks_total:
            raise ValueError(f"{len(self.rows)} blocks, but an order of {self.order.blocks_total}")

    def step(self, step: int) -> tuple[RowBatch, ...]:
        """The M micro-batches of `step` (from 0), each of B rows, copied.

        Raises:
            ValueError: the step is negative; a mistake of the caller.
        """
        return tuple(self.rows.take(indices_B) for indices_B in self.order.indices(step))


def evaluation_batches(rows: Rows, micro_batch_size: int) -> list[RowBatch]:
    """The evaluation rows in order, `micro_batch_size` at a time; the last batch may be smaller.

    Args:
        rows: N rows.
        micro_batch_size: rows in a batch, B.

    Returns:
        Batches of B rows, together all N.

    Raises:
        CorpusError: SW-D118, the size is below 1.
    """
    _at_least_one("micro_batch_size", micro_batch_size)
    numbers_N = torch.arange(len(rows))
    return [rows.take(numbers_N[first : first + micro_batch_size]) for first in range(0, len(rows), micro_batch_size)]


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise CorpusError(
            "SW-D118",
            f"no batch can be made with {name} = {value}",
            where=name,
            expected="1 or more",
            got=f"{value}",
            remedy="set pipeline.micro_batches and pipeline.micro_batch_size to 1 or more, and give a corpus that "
            "fills a block",
        )
