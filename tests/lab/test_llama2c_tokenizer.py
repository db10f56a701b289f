"""The converted tokenizer gives llama2.c's ids, and text comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from llama2c_files import encode, plain_texts, small_pieces, write_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from shieldwall.data import load_tokenizer
from shieldwall.lab.llama2c.tokenizer import merges_of, to_fast_tokenizer
from shieldwall.lab.llama2c.tokenizer_file import SPACE, read_tokenizer_file

TEXTS = plain_texts(" \n\taabbccé🙂", longest=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tokenizer, converted and saved."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder / "tokenizer.bin", small_pieces())
    pieces = read_tokenizer_file(folder / "tokenizer.bin", len(small_pieces()))
    to_fast_tokenizer(pieces, positions=16).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> PreTrainedTokenizerFast:
    """As transformers loads it, which for some families puts the family's own rules in place of the file's."""
    return AutoTokenizer.from_pretrained(folder)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_the_ids_are_those_of_llama2c(
    text: str, ours: PreTrainedTokenizerFast, theirs: PreTrainedTokenizerFast
) -> None:
    """Law: the same ids as run.c's loop over scores, with a begin token before them where one is wanted."""
    expected = encode(small_pieces(), text)
    for tokenizer in (ours, theirs):
        assert tokenizer.encode(text, add_special_tokens=False) == expected
        assert tokenizer.encode(text) == [1, *expected]


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_text_comes_back(text: str, ours: PreTrainedTokenizerFast, theirs: PreTrainedTokenizerFast) -> None:
    """Law: unknown characters, control characters and spaces at either end included."""
    for tokenizer in (ours, theirs):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("abc", ["▁abc"]),
        (" abc", ["▁▁", "abc"]),
        ("   ", ["▁▁", "▁▁"]),
        ("aaaaa", ["▁a", "aaaa"]),
        ("é", ["▁", "é"]),
        ("x🙂", ["▁", "<0x78>", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>"]),
        ("a\na", ["▁a", "\n", "a"]),
        ("a\ta", ["▁a", "<0x09>", "a"]),
    ],
)
def test_tokens_by_hand(text: str, tokens: list[str], ours: PreTrainedTokenizerFast) -> None:
    assert ours.tokenize(text) == tokens
    assert ours.decode(ours.convert_tokens_to_ids(tokens)) == text


def test_bytes_that_are_no_text_decode_to_the_replacement_character(ours: PreTrainedTokenizerFast) -> None:
    replacement = "\N{REPLACEMENT CHARACTER}"
    ids = ours.convert_tokens_to_ids(["▁a", "<0xF0>", "<0x9F>", "b"])
    assert ours.decode(ids) == f"a{replacement * 2}b"


def test_the_special_tokens(ours: PreTrainedTokenizerFast, theirs: PreTrainedTokenizerFast) -> None:
    for tokenizer in (ours, theirs):
        assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
        assert (len(tokenizer), tokenizer.model_max_length) == (276, 16)
        assert tokenizer.encode("<s>", add_special_tokens=False) == [1]


def test_merges_come_best_first_and_never_from_bytes(folder: Path) -> None:
    merges = merges_of(read_tokenizer_file(folder / "tokenizer.bin", 276))
    assert merges[:4] == [("a", "b"), (SPACE, "a"), ("a", "a"), ("b", "c")]
    assert [pair for pair in merges if "".join(pair) == "aaaa"] == [("aaa", "a"), ("aa", "aa"), ("a", "aaa")]
    assert not [pair for pair in merges if "<0x" in "".join(pair)]
