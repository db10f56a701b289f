"""What a model is trained or measured on: rows of token ids, each a full block, one padded example, or several.

    tokens    5 8 2 9 4 | 7 3 1 | 0 0         two examples and padding in a row of ten
    labels    . . 2 9 4 | . 3 1 | . .         `.` is IGNORED: prompts, the first token of each example, padding
    positions 0 1 2 3 4 | 0 1 2 | 0 1         start again with each example, and with the padding

Padding lies on the right and needs no mask: attention is causal, so no token that counts ever looks at it. Examples in
one row are kept apart by their positions.

Shapes: N rows, T tokens in the longest row there may be, B rows in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""The label of a token that is not to be predicted, as torch's cross-entropy and transformers have it."""


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Some rows, cut to the longest of them."""

    tokens_BT: Tensor  # noqa: N815 (shapes in names)
    """(B, T) int64."""
    labels_BT: Tensor  # noqa: N815 (shapes in names)
    """(B, T) int64: the token where it is to be predicted from those before it, else `IGNORED`."""
    positions_BT: Tensor | None  # noqa: N815 (shapes in names)
    """(B, T) int64, only where some row holds several examples."""
    targets: int
    """Tokens that are predicted."""
    tokens: int
    """Tokens, padding left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of tokens in order.

    Raises:
        ValueError: lengths without labels, or not one of each for each row; a mistake of the caller.
    """

    tokens_NT: Tensor  # noqa: N815 (shapes in names)
    """(N, T) int64 token ids, padded on the right."""
    labels_NT: Tensor | None = None  # noqa: N815 (shapes in names)
    """(N, T) int64; None: every token of a row but its first is predicted."""
    examples: tuple[tuple[int, ...], ...] | None = None
    """Lengths of the examples in each row, in order; None: each row is one full sequence."""

    def __post_init__(self) -> None:
        if (self.labels_NT is None) != (self.examples is None):
            raise ValueError("rows have both labels and lengths of examples, or neither")
        if self.labels_NT is not None and self.labels_NT.shape != self.tokens_NT.shape:
            raise ValueError(f"labels {tuple(self.labels_NT.shape)} for tokens {tuple(self.tokens_NT.shape)}")
        if self.examples is not None and len(self.examples) != len(self.tokens_NT):
            raise ValueError(f"lengths for {len(self.examples)} rows of {len(self.tokens_NT)}")

    def __len__(self) -> int:
        return len(self.tokens_NT)

    @property
    def tokens(self) -> int:
        """Tokens in all rows, padding left out."""
        if self.examples is None:
            return self.tokens_NT.numel()
        return sum(map(sum, self.examples))

    @property
    def longest(self) -> int:
        """Tokens of the longest row, padding left out."""
        if self.examples is None:
            return self.tokens_NT.shape[1]
        return max(map(sum, self.examples), default=0)

    def first(self, count: int) -> Rows:
        """The first rows, at most `count`; 0 keeps all."""
        if not count:
            return self
        labels_NT = None if self.labels_NT is None else self.labels_NT[:count]
        return Rows(self.tokens_NT[:count], labels_NT, None if self.examples is None else self.examples[:count])

    def take(self, indices_B: Tensor) -> RowBatch:
        """The rows with these numbers as a batch, copied.

        Args:
            indices_B: (B,) int64 in [0, N), at least one.
        """
        if self.labels_NT is None or self.examples is None:
            tokens_BT = self.tokens_NT[indices_B]
            tokens = tokens_BT.numel()
            return RowBatch(tokens_BT, tokens_BT, None, tokens - len(tokens_BT), tokens)
        lengths = [self.examples[index] for index in indices_B.tolist()]
        width = max(map(sum, lengths))
        tokens_BT = self.tokens_NT[indices_B, :width].contiguous()
        labels_BT = self.labels_NT[indices_B, :width].contiguous()
        positions_BT = _positions(lengths, width) if any(len(row) > 1 for row in lengths) else None
        targets = int((labels_BT[:, 1:] != IGNORED).sum())
        return RowBatch(tokens_BT, labels_BT, positions_BT, targets, sum(map(sum, lengths)))


def _positions(lengths: Sequence[Sequence[int]], width: int) -> Tensor:
    """(B, T): 0, 1, 2 ... in each example, and again in the padding, which is nobody's continuation."""
    rows = []
    for row in lengths:
        parts = [torch.arange(length) for length in (*row, width - sum(row))]
        rows.append(torch.cat(parts))
    return torch.stack(rows)
