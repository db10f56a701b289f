"""Token ids in rows of equal length, cut from the training text and from the evaluation text apart.

Shapes: N blocks, T tokens in a block (`data.block_tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shieldwall.core.errors import CorpusError
from shieldwall.data.corpora import Corpus
from shieldwall.data.split import split_text
from shieldwall.data.tokenizer import encode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SMALLEST_BLOCK = 2
"""A block of one token has no next token to predict."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """What a run trains on and what it is measured on; no token is in both."""

    train_NT: Tensor  # noqa: N815 (shapes in names)
    """(N, T) int64 token ids, in the order of the text."""
    eval_NT: Tensor  # noqa: N815 (shapes in names)
    """(N, T) int64 token ids, in the order of the text; its own N."""


def cut_blocks(token_ids: Sequence[int] | Tensor, block_tokens: int) -> Tensor:
    """Cut token ids into blocks of `block_tokens`; what is left at the end and shorter than a block is dropped.

    Returns:
        (N, T) int64; N is 0 where there are fewer ids than a block takes.

    Raises:
        CorpusError: SW-D115, a block of fewer than 2 tokens.
    """
    _check_block_tokens(block_tokens)
    ids = torch.as_tensor(token_ids, dtype=torch.int64)
    count = len(ids) // block_tokens
    return ids[: count * block_tokens].view(count, block_tokens)


def make_blocks(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    block_tokens: int,
    eval_fraction: float,
    eval_blocks: int | None,
) -> Blocks:
    """Split `corpus`, encode both parts on their own and cut them into blocks.

    Args:
        corpus: the text.
        tokenizer: a fast tokenizer; no special tokens are added.
        block_tokens: tokens in a block, T, at least 2.
        eval_fraction: share of the text for evaluation, in (0, 0.5].
        eval_blocks: how many evaluation blocks to keep, the first ones; None or 0 keeps all.

    Returns:
        At least one training block and one evaluation block.

    Raises:
        CorpusError: SW-D110, the fraction is out of range; SW-D115, a block of fewer than 2 tokens or a negative
            number of blocks; SW-D116, a part is shorter than a block.
    """
    _check_block_tokens(block_tokens)
    _check_eval_blocks(eval_blocks)
    train_text, eval_text = split_text(corpus, eval_fraction)
    train_ids, eval_ids = encode_text(tokenizer, train_text), encode_text(tokenizer, eval_text)
    if min(len(train_ids), len(eval_ids)) < block_tokens:
        raise _too_short(corpus.spec, len(train_ids), len(eval_ids), block_tokens)
    eval_NT = cut_blocks(eval_ids, block_tokens)
    return Blocks(cut_blocks(train_ids, block_tokens), eval_NT[: eval_blocks or None])


def check_vocabulary(blocks: Blocks, vocabulary: int) -> None:
    """Refuse blocks with a token that the model has no embedding for.

    Args:
        blocks: training and evaluation blocks.
        vocabulary: rows of the model's embedding; ids go from 0 to `vocabulary - 1`.

    Raises:
        CorpusError: SW-D117; names the largest id.
    """
    largest = max((int(part_NT.max()) for part_NT in (blocks.train_NT, blocks.eval_NT) if part_NT.numel()), default=-1)
    if largest >= vocabulary:
        raise CorpusError(
            "SW-D117",
            "a token lies beyond the model's vocabulary",
            where="the tokenizer and the model",
            expected=f"token ids from 0 to {vocabulary - 1}, for a vocabulary of {vocabulary}",
            got=f"token id {largest}",
            remedy="use the tokenizer that belongs to the model, the one in the model's own folder",
        )


def _check_block_tokens(block_tokens: int) -> None:
    if block_tokens < SMALLEST_BLOCK:
        raise _bad_size("data.block_tokens", block_tokens, SMALLEST_BLOCK, "128 is the default")


def _check_eval_blocks(eval_blocks: int | None) -> None:
    if eval_blocks is not None and eval_blocks < 0:
        raise _bad_size("data.eval_blocks", eval_blocks, 0, "0 keeps every evaluation block")


def _bad_size(key: str, value: int, least: int, remedy: str) -> CorpusError:
    return CorpusError(
        "SW-D115",
        "blocks cannot be cut to this size",
        where=key,
        expected=f"{least} or more",
        got=f"{value}",
        remedy=f"set {key} to {least} or more; {remedy}",
    )


def _too_short(spec: str, train_tokens: int, eval_tokens: int, block_tokens: int) -> CorpusError:
    part = "training" if train_tokens < block_tokens else "evaluation"
    fits = min(train_tokens, eval_tokens)
    total = train_tokens + eval_tokens
    ways = ["give more text"]
    if fits >= SMALLEST_BLOCK:
        ways.append(f"set data.block_tokens to {fits} or less")
    if part == "evaluation" and total >= 2 * block_tokens:
        ways.append(f"raise data.eval_fraction to about {min(0.5, 1.1 * block_tokens / total):.2g}")
    if part == "training" and total >= 2 * block_tokens:
        ways.append("lower data.eval_fraction")
    return CorpusError(
        "SW-D116",
        f"the {part} text is shorter than one block",
        where=f'data.corpus = "{spec}"',
        expected=f"at least {block_tokens} tokens (data.block_tokens) in each part",
        got=f"tokens found: {train_tokens} for training, {eval_tokens} for evaluation",
        remedy=", or ".join(ways),
    )
