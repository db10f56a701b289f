"""From texts to examples: token ids, and from which of them on the model is to predict.

    begin | prompt | completion | end        of a prompt and its completion; `begin` where the tokenizer puts one
    . . . . . . . .  t t t t t t  t          `t` is a target, `.` is not

What is longer than a row loses its end, while at least one target remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch

from shieldwall.data.encode import begin_token, encode_each
from shieldwall.data.packing import pack
from shieldwall.data.pairs import Pair
from shieldwall.data.rows import IGNORED, Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids; those from `first_target` on are predicted, but never the very first."""

    ids: tuple[int, ...]
    first_target: int

    @property
    def targets(self) -> int:
        """Tokens that are predicted."""
        return max(0, len(self.ids) - max(1, self.first_target))

    def cut(self, block_tokens: int) -> Example:
        """The example without what a row has no room for."""
        return Example(self.ids[:block_tokens], self.first_target)


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the examples that were found."""

    found: int = 0
    cut: int = 0
    """Of these, so many lost their end."""
    left_out: int = 0
    """Of these, in so many there was nothing left to predict."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.found + other.found, self.cut + other.cut, self.left_out + other.left_out)


@dataclass(frozen=True, slots=True)
class Examples:
    """Those that can be used, in order, and how many could not."""

    kept: tuple[Example, ...]
    tally: Tally


def encode_pairs(tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair], block_tokens: int) -> Examples:
    """Prompts and completions as tokens; the two are encoded apart, so that no token lies in both.

    Args:
        tokenizer: a fast tokenizer. It decides whether there is a begin token; its end token, if it has one, ends each
            completion and is predicted like it.
        pairs: what to encode.
        block_tokens: longest example.
    """
    begin, end = begin_token(tokenizer), tokenizer.eos_token_id
    head, tail = [] if begin is None else [begin], [] if end is None else [int(end)]
    prompts = encode_each(tokenizer, [pair.prompt for pair in pairs])
    completions = encode_each(tokenizer, [pair.completion for pair in pairs], [bool(pair.prompt) for pair in pairs])
    return _fit(
        [
            Example((*head, *prompt, *completion, *tail), len(head) + len(prompt))
            for prompt, completion in zip(prompts, completions, strict=True)
        ],
        block_tokens,
    )


def encode_documents(tokenizer: PreTrainedTokenizerFast, documents: Sequence[str], block_tokens: int) -> Examples:
    """Each document as examples of its own, of `block_tokens` tokens and a shorter last one; no special tokens.

    A piece of one token has nothing to predict and is left out.
    """
    pieces = [
        Example(tuple(ids[first : first + block_tokens]), 0)
        for ids in encode_each(tokenizer, documents)
        for first in range(0, max(1, len(ids)), block_tokens)
    ]
    return _fit(pieces, block_tokens)


def fill_rows(examples: Sequence[Example], block_tokens: int, padding: int, *, packing: bool) -> Rows:
    """Put examples into rows of `block_tokens`.

    Args:
        examples: none longer than a row.
        block_tokens: tokens in a row, T.
        padding: token id that fills a row up.
        packing: several examples to a row, by best fit; else one, in the order given.
    """
    if packing:
        groups = pack([len(example.ids) for example in examples], block_tokens)
    else:
        groups = [[number] for number in range(len(examples))]
    tokens_NT = torch.full((len(groups), block_tokens), padding, dtype=torch.int64)
    labels_NT = torch.full((len(groups), block_tokens), IGNORED, dtype=torch.int64)
    for row, group in enumerate(groups):
        ids = list(chain.from_iterable(examples[number].ids for number in group))
        labels = list(chain.from_iterable(_labels(examples[number]) for number in group))
        tokens_NT[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        labels_NT[row, : len(ids)] = torch.tensor(labels, dtype=torch.int64)
    lengths = tuple(tuple(len(examples[number].ids) for number in group) for group in groups)
    return Rows(tokens_NT, labels_NT, lengths)


def _labels(example: Example) -> list[int]:
    first = max(1, example.first_target)
    return [IGNORED] * min(first, len(example.ids)) + list(example.ids[first:])


def _fit(examples: Sequence[Example], block_tokens: int) -> Examples:
    fitting = [example.cut(block_tokens) for example in examples]
    kept = tuple(example for example in fitting if example.targets)
    cut = sum(
        len(example.ids) > block_tokens and now.targets > 0 for example, now in zip(examples, fitting, strict=True)
    )
    return Examples(kept, Tally(len(examples), cut, len(examples) - len(kept)))
