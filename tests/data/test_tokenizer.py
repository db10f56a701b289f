"""Tokenizers: the same text gives the same files, every text comes back, and folders load as they are."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.data import END_OF_TEXT, encode_text, load_tokenizer, read_corpus, train_tokenizer
from shieldwall.data.encode import pieces

texts = st.text(st.characters(exclude_categories=["Cs"]))

TRAIN_AND_SAVE = """
import sys
from shieldwall.data import read_corpus, train_tokenizer
train_tokenizer(read_corpus("pydoc").text[:200_000], 700).save_pretrained(sys.argv[1])
"""


@cache
def sample() -> str:
    return read_corpus("pydoc").text[:200_000]


@cache
def tokenizer() -> Any:
    return train_tokenizer(sample(), 700)


def test_two_processes_give_the_same_files(tmp_path: Path) -> None:
    """Neither the number of threads nor the order of hashes has a say."""
    tokenizer().save_pretrained(tmp_path / "here")
    environment = os.environ | {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", TRAIN_AND_SAVE, tmp_path / "there"], check=True, env=environment)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert "tokenizer.json" in names
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.parametrize(
    ("vocabulary", "text"), [(257, "abc abc abc"), (300, ""), (300, "abc abc abc"), (5000, "ab " * 9)]
)
def test_the_vocabulary_is_at_most_what_was_asked(vocabulary: int, text: str) -> None:
    trained = train_tokenizer(text, vocabulary)
    assert 257 <= len(trained) <= vocabulary
    assert max(trained.get_vocab().values()) == len(trained) - 1


def test_a_long_text_fills_the_vocabulary_and_is_shortened() -> None:
    assert len(tokenizer()) == 700
    assert len(encode_text(tokenizer(), sample())) < 0.5 * len(sample().encode())


def test_one_special_token_begins_and_ends() -> None:
    assert tokenizer().bos_token == tokenizer().eos_token == END_OF_TEXT
    assert tokenizer().convert_tokens_to_ids(END_OF_TEXT) == 0


@settings(deadline=None)
@given(text=texts)
def test_every_text_comes_back(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text)) == text
    assert tokenizer().decode(encode_text(tokenizer(), text)) == text


def test_a_text_of_many_pieces_comes_back() -> None:
    """More pieces than are encoded at once, with lines longer than a piece."""
    text = sample() * 12 + "word " * 30_000 + "œ" * 40_000
    assert tokenizer().decode(encode_text(tokenizer(), text)) == text


@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab\n"), max_size=80), characters=st.integers(1, 20))
def test_pieces_are_short_and_together_the_text(text: str, characters: int) -> None:
    cut = list(pieces(text, characters))
    assert "".join(cut) == text
    assert all(0 < len(piece) <= characters for piece in cut)
    assert all(piece.endswith("\n") or "\n" not in piece for piece in cut[:-1])


@pytest.mark.parametrize("family", ["", "gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "opt", "phi3"])
def test_a_trained_tokenizer_loads_the_same_beside_any_model(family: str, tmp_path: Path) -> None:
    """Story: AutoTokenizer replaced the rules of a saved tokenizer with those of the qwen2 family.

    Text with combining accents then came back changed, and a checkpoint was measured on other tokens than it had
    been trained on.
    """
    tokenizer().save_pretrained(tmp_path)
    if family:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    loaded = load_tokenizer(tmp_path)
    text = "don't  1234 e\u0301\u2028\n\n  end. " + sample()[:5000]
    assert encode_text(loaded, text) == encode_text(tokenizer(), text)
    assert loaded.decode(encode_text(loaded, text)) == text
    assert loaded.eos_token_id == tokenizer().eos_token_id


def test_a_folder_without_a_tokenizer_config_loads(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert encode_text(load_tokenizer(str(tmp_path)), "some text") == encode_text(tokenizer(), "some text")


def test_the_files_limits_do_not_shorten_the_text(tmp_path: Path) -> None:
    """A tokenizer.json may ask for truncation and padding; a corpus wants neither, and the tokenizer stays as it is."""
    limited = train_tokenizer(sample(), 300)
    limited.backend_tokenizer.enable_truncation(8)
    limited.backend_tokenizer.enable_padding(length=16)
    limited.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for each in (limited, loaded):
        assert each.decode(encode_text(each, "a text of more than eight tokens")) == "a text of more than eight tokens"
        assert encode_text(each, "a") == [each.convert_tokens_to_ids("a")]
    assert limited.backend_tokenizer.truncation["max_length"] == 8


def test_no_special_tokens_and_no_warning_for_a_long_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 16, "add_bos_token": True}))
    loaded = load_tokenizer(tmp_path)
    with caplog.at_level(logging.WARNING):
        ids = encode_text(loaded, "word " * 100)
    assert len(ids) > 16
    assert loaded.bos_token_id not in ids
    assert not caplog.records
