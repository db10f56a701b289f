"""What a run trains on and what it is measured on: rows of tokens, cut from the text's two parts apart.

    text, packing          the part's documents joined, cut into full blocks       | a b c d | e f g h |
    text, no packing       each document by itself, padded                         | a b c _ | d e _ _ |
    pairs, packing         several examples to a row of the training part          | p c P C | p c c _ |
    pairs, no packing      an example to a row                                     | p c _ _ | P C _ _ |

Pairs are never packed for evaluation, so that whatever loads the model can repeat it without knowing how.

Shapes: N rows, T tokens in a row (`data.block_tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shieldwall.core.errors import CorpusError
from shieldwall.data.corpora import Corpus
from shieldwall.data.encode import encode_text, padding_token
from shieldwall.data.examples import Examples, Tally, encode_documents, encode_pairs, fill_rows
from shieldwall.data.pairs import Pairs, split_pairs, too_few_examples
from shieldwall.data.rows import Rows
from shieldwall.data.split import split_documents, split_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SMALLEST_BLOCK = 2
"""A block of one token has no next token to predict."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """What a run trains on and what it is measured on; no token is in both."""

    train: Rows
    eval: Rows
    tally: Tally | None = None
    """What became of the examples; None where the text is one long sequence."""


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
    corpus: Corpus | Pairs,
    tokenizer: PreTrainedTokenizerFast,
    block_tokens: int,
    eval_fraction: float,
    eval_blocks: int | None,
    *,
    packing: bool = True,
) -> Blocks:
    """Split `corpus`, encode both parts on their own and put them into rows.

    Args:
        corpus: text, or pairs of prompt and completion.
        tokenizer: a fast tokenizer.
        block_tokens: tokens in a row, T, at least 2.
        eval_fraction: share of the text, or of the pairs, for evaluation, in (0, 0.5].
        eval_blocks: how many evaluation rows to keep, the first ones; None or 0 keeps all.
        packing: no room is wasted; else a document or a pair has a row of its own.

    Returns:
        At least one training row and one evaluation row.

    Raises:
        CorpusError: SW-D110, the fraction is out of range; SW-D115, a row of fewer than 2 tokens or a negative number
            of rows; SW-D116, a part of a text is shorter than a block; SW-D124, a part has no example.
    """
    _check_block_tokens(block_tokens)
    _check_eval_blocks(eval_blocks)
    if isinstance(corpus, Corpus) and packing:
        blocks = _join_text(corpus, tokenizer, block_tokens, eval_fraction)
    elif isinstance(corpus, Corpus):
        heads, tails = split_documents(corpus, eval_fraction)
        encoded = [encode_documents(tokenizer, part, block_tokens) for part in (heads, tails)]
        blocks = _example_blocks(corpus.spec, encoded, block_tokens, padding_token(tokenizer), packing=False)
    else:
        encoded = [encode_pairs(tokenizer, part.pairs, block_tokens) for part in split_pairs(corpus, eval_fraction)]
        blocks = _example_blocks(corpus.spec, encoded, block_tokens, padding_token(tokenizer), packing=packing)
    return Blocks(blocks.train, blocks.eval.first(eval_blocks or 0), blocks.tally)


def all_rows(
    corpus: Corpus | Pairs, tokenizer: PreTrainedTokenizerFast, block_tokens: int, *, packing: bool = True
) -> Rows:
    """The whole corpus in rows, without a split, for measuring; there may be none. Pairs are never packed.

    Raises:
        CorpusError: SW-D115, a row of fewer than 2 tokens.
    """
    _check_block_tokens(block_tokens)
    if isinstance(corpus, Pairs):
        examples = encode_pairs(tokenizer, corpus.pairs, block_tokens)
    elif packing:
        return Rows(cut_blocks(encode_text(tokenizer, corpus.text), block_tokens))
    else:
        examples = encode_documents(tokenizer, corpus.documents, block_tokens)
    return fill_rows(examples.kept, block_tokens, padding_token(tokenizer), packing=False)


def _join_text(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, block_tokens: int, eval_fraction: float) -> Blocks:
    train_text, eval_text = split_text(corpus, eval_fraction)
    train_ids, eval_ids = encode_text(tokenizer, train_text), encode_text(tokenizer, eval_text)
    if min(len(train_ids), len(eval_ids)) < block_tokens:
        raise _too_short(corpus.spec, len(train_ids), len(eval_ids), block_tokens)
    return Blocks(Rows(cut_blocks(train_ids, block_tokens)), Rows(cut_blocks(eval_ids, block_tokens)))


def _example_blocks(
    spec: str, encoded: Sequence[Examples], block_tokens: int, padding: int, *, packing: bool
) -> Blocks:
    train, evaluation = encoded
    tally = train.tally + evaluation.tally
    if not train.kept or not evaluation.kept:
        raise too_few_examples(
            spec,
            f"{len(train.kept)} for training, {len(evaluation.kept)} for evaluation; of {tally.found} found,"
            f" {tally.left_out} were left out, because in {block_tokens} tokens there is nothing to predict",
            "give more records, or raise data.block_tokens or data.eval_fraction",
        )
    return Blocks(
        fill_rows(train.kept, block_tokens, padding, packing=packing),
        fill_rows(evaluation.kept, block_tokens, padding, packing=False),
        tally,
    )


def check_vocabulary(blocks: Blocks, vocabulary: int) -> None:
    """Refuse blocks with a token that the model has no embedding for.

    Args:
        blocks: training and evaluation blocks.
        vocabulary: rows of the model's embedding; ids go from 0 to `vocabulary - 1`.

    Raises:
        CorpusError: SW-D117; names the largest id.
    """
    parts = [rows.tokens_NT for rows in (blocks.train, blocks.eval)]
    largest = max((int(part_NT.max()) for part_NT in parts if part_NT.numel()), default=-1)
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
