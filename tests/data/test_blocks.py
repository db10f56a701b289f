"""Blocks: whole, of one length, and never of text from the other side."""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shieldwall.core.errors import CorpusError
from shieldwall.data import (
    Blocks,
    Corpus,
    Rows,
    check_vocabulary,
    cut_blocks,
    encode_text,
    make_blocks,
    split_text,
    train_tokenizer,
)


@cache
def byte_tokenizer() -> Any:
    """One token for each byte."""
    return train_tokenizer("", 257)


def numbers_in(blocks_NT: Tensor) -> set[str]:
    """The line numbers that lie whole in one block."""
    return {number for row in blocks_NT for number in re.findall(r"<\d{6}>", byte_tokenizer().decode(row))}


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 2**40), max_size=50), block_tokens=st.integers(2, 9), as_tensor=st.booleans())
def test_blocks_are_the_ids_in_order_without_the_tail(ids: list[int], block_tokens: int, as_tensor: bool) -> None:
    blocks_NT = cut_blocks(torch.tensor(ids, dtype=torch.int64) if as_tensor else ids, block_tokens)
    assert blocks_NT.shape == (len(ids) // block_tokens, block_tokens)
    assert blocks_NT.dtype == torch.int64
    assert blocks_NT.flatten().tolist() == ids[: len(ids) - len(ids) % block_tokens]


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 9), min_size=8, max_size=40),
    block_tokens=st.integers(9, 16),
    fraction=st.floats(0.25, 0.5),
)
def test_no_line_is_in_both(lengths: list[int], block_tokens: int, fraction: float) -> None:
    numbers = iter(range(10**6))
    documents = tuple("".join(f"<{next(numbers):06d}>\n" for _ in range(length)) for length in lengths)
    blocks = make_blocks(Corpus("text:x", documents), byte_tokenizer(), block_tokens, fraction, None)
    train, evaluation = numbers_in(blocks.train.tokens_NT), numbers_in(blocks.eval.tokens_NT)
    assert train | evaluation
    assert not train & evaluation
    assert max(train, default="") < min(evaluation, default="<999999>")


def test_each_part_is_encoded_on_its_own() -> None:
    corpus = Corpus("text:x", ("a line of words\n" * 200,))
    tokenizer = train_tokenizer(corpus.text, 270)
    blocks = make_blocks(corpus, tokenizer, 8, 0.25, None)
    for text, part_NT in zip(split_text(corpus, 0.25), (blocks.train.tokens_NT, blocks.eval.tokens_NT), strict=True):
        assert torch.equal(part_NT, cut_blocks(encode_text(tokenizer, text), 8))


@pytest.mark.parametrize(("asked", "kept"), [(None, 50), (0, 50), (1, 1), (7, 7), (50, 50), (51, 50)])
def test_the_first_evaluation_blocks_are_kept(asked: int | None, kept: int) -> None:
    corpus = Corpus("text:x", ("0123456789012345678\n" * 100,))
    whole = make_blocks(corpus, byte_tokenizer(), 20, 0.5, None)
    blocks = make_blocks(corpus, byte_tokenizer(), 20, 0.5, asked)
    assert torch.equal(blocks.eval.tokens_NT, whole.eval.tokens_NT[:kept])
    assert len(blocks.eval.tokens_NT) == kept
    assert torch.equal(blocks.train.tokens_NT, whole.train.tokens_NT)


def test_a_part_of_exactly_one_block_is_enough() -> None:
    corpus = Corpus("text:x", ("abc\ndef\n",))
    blocks = make_blocks(corpus, byte_tokenizer(), 4, 0.5, None)
    assert (blocks.train.tokens_NT.shape, blocks.eval.tokens_NT.shape) == ((1, 4), (1, 4))
    with pytest.raises(CorpusError, match=r"set data\.block_tokens to 4 or less"):
        make_blocks(corpus, byte_tokenizer(), 5, 0.5, None)


def test_the_remedy_for_a_short_evaluation_works() -> None:
    corpus = Corpus("text:x", ("0123456789012345678\n" * 50,))
    with pytest.raises(CorpusError, match=r"raise data\.eval_fraction to about 0\.14"):
        make_blocks(corpus, byte_tokenizer(), 128, 0.1, None)
    assert len(make_blocks(corpus, byte_tokenizer(), 128, 0.14, None).eval) == 1


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    (tmp_path / "example.py").write_text(page.split("```python\n")[1].split("```")[0])
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert names["batch_BT"].shape == (2, 128)
    check_vocabulary(names["blocks"], len(names["tokenizer"]))


def test_ids_below_the_vocabulary_pass() -> None:
    check_vocabulary(Blocks(Rows(torch.tensor([[0, 5]])), Rows(torch.tensor([[256, 3]]))), 257)
    nothing = Rows(torch.zeros(0, 2, dtype=torch.int64))
    check_vocabulary(Blocks(nothing, nothing), 1)
