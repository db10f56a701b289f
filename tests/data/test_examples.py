"""From records to examples: templates, special tokens, labels, what is cut and what is left out, and the split."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from shieldwall.core.errors import CorpusError
from shieldwall.data import Corpus, Pair, Pairs, all_rows, encode_text, make_blocks, read_pairs, train_tokenizer
from shieldwall.data.encode import begin_token, padding_token
from shieldwall.data.examples import Example, Tally, encode_documents, encode_pairs
from shieldwall.data.split import split_documents, split_examples, split_text
from shieldwall.data.tables.record import Record
from shieldwall.data.templates import Template

END = 0
"""Of the byte tokenizer."""

UNKNOWN = "<unk>"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": UNKNOWN}


@cache
def byte_tokenizer() -> Any:
    """One token for each byte; one special token that ends a text and is never put before it."""
    return train_tokenizer("", 257)


def beginning_tokenizer(processor: str = "<s> $A") -> Any:
    """The same with a begin token that stands before each text, as Llama's tokenizers have it."""
    tokenizer = train_tokenizer("", 257)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})
    names = ["<s>", "</s>"]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=processor, special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in names]
    )
    return tokenizer


@cache
def spacing_tokenizer() -> Any:
    """Sentencepiece's way, as Llama's: a space before every text, spaces as part of words, bytes for the rest."""
    alphabet = {f"<0x{byte:02X}>": byte + 3 for byte in range(256)}
    pieces = ["\u2581", *"abcdefghijklmnopqrstuvwxyzQA:?.0123456789", "\u2581a", "ab", "12", "\u2581ab"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **alphabet}
    vocabulary |= {piece: len(vocabulary) + place for place, piece in enumerate(pieces)}
    merges = [("\u2581", "a"), ("a", "b"), ("1", "2"), ("\u2581", "ab")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=UNKNOWN, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def ids(text: str) -> list[int]:
    return encode_text(byte_tokenizer(), text)


def fill(text: str, **values: object) -> str:
    return Template.parse("data.prompt", text).fill(Record(values, "here"))


TEXTS = st.text(alphabet="ab12 Q:.?\n\u00e9", max_size=12)


@given(prompt=TEXTS, completion=TEXTS.filter(bool))
def test_what_is_trained_is_the_prompt_and_the_completion(prompt: str, completion: str) -> None:
    """Whatever the tokenizer puts before a text, nothing stands between the two that nobody wrote."""
    for tokenizer in (byte_tokenizer(), spacing_tokenizer()):
        (example,) = encode_pairs(tokenizer, [Pair(prompt, completion)], 256).kept
        told = tokenizer.decode(example.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert told == prompt + completion


@given(text=st.text(alphabet="ab12 \n", min_size=1, max_size=200))
def test_a_text_in_pieces_is_the_same_text(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shieldwall.data.encode.PIECE_CHARACTERS", 16)
        for tokenizer in (byte_tokenizer(), spacing_tokenizer()):
            found = encode_text(tokenizer, text)
            assert tokenizer.decode(found, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("question", "Why?"),
        ("{question}", "Why?"),
        ("Q: {question}\nA: ", "Q: Why?\nA: "),
        ("{{{question}}} {{}}", "{Why?} {}"),
        ("{number} {share} {yes} {question}{question}", "3 0.5 true Why?Why?"),
        ("the field", "odd name"),
        ("{the field}", "odd name"),
        ("meta.text", "dotted"),
    ],
)
def test_a_template_is_filled(text: str, written: str) -> None:
    values = {
        "question": "Why?",
        "number": 3,
        "share": 0.5,
        "yes": True,
        "the field": "odd name",
        "meta.text": "dotted",
    }
    assert fill(text, **values) == written


@given(value=st.text(st.characters(exclude_categories=["Cs"])), around=st.text(st.sampled_from("ab \n:")))
def test_what_stands_in_a_field_is_never_read_as_a_template(value: str, around: str) -> None:
    assert fill(around + "{question}" + around, question=value) == around + value + around
    assert fill("question", question=value) == value


@pytest.mark.parametrize("text", ["{", "}", "a {b", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{a:{b}}", "{{x}}"])
def test_anything_but_a_name_between_braces_is_refused(text: str) -> None:
    with pytest.raises(CorpusError, match=r"SW-D120: the template cannot be read"):
        Template.parse("data.prompt", text)


def test_prompt_and_completion_become_tokens_and_targets() -> None:
    found = encode_pairs(byte_tokenizer(), [Pair("ab", "cde"), Pair("", "x")], 100)
    assert found.kept == (Example((*ids("abcde"), END), 2), Example((*ids("x"), END), 0))
    assert [example.targets for example in found.kept] == [4, 1]
    assert found.tally == Tally(2, 0, 0)


def test_a_begin_token_is_put_where_the_tokenizer_puts_one() -> None:
    tokenizer = beginning_tokenizer()
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert begin_token(tokenizer) == begin == tokenizer("").input_ids[0]
    (example,) = encode_pairs(tokenizer, [Pair("ab", "c")], 100).kept
    assert example == Example((begin, *ids("abc"), end), 3)
    assert begin_token(byte_tokenizer()) is None
    assert begin_token(beginning_tokenizer("$A </s>")) is None


def test_padding_is_the_tokenizers_own_or_its_end_token() -> None:
    tokenizer = beginning_tokenizer()
    assert padding_token(tokenizer) == tokenizer.pad_token_id
    tokenizer.pad_token = None
    assert padding_token(tokenizer) == tokenizer.eos_token_id
    tokenizer.eos_token = None
    assert padding_token(tokenizer) == 0


def test_the_tokens_of_a_prompt_do_not_depend_on_its_completion() -> None:
    tokenizer = train_tokenizer("the cat the cat the cat", 300)
    (example,) = encode_pairs(tokenizer, [Pair("the c", "at")], 100).kept
    assert list(example.ids[: example.first_target]) == encode_text(tokenizer, "the c")
    assert list(example.ids[example.first_target :]) == [*encode_text(tokenizer, "at"), tokenizer.eos_token_id]
    assert list(example.ids[:-1]) != encode_text(tokenizer, "the cat")


def test_long_examples_lose_their_end_and_lost_completions_are_left_out() -> None:
    pairs = [Pair("abcd", "e"), Pair("abc", "defg"), Pair("abcde", "f"), Pair("abcdef", "g"), Pair("", "abcdefgh")]
    found = encode_pairs(byte_tokenizer(), pairs, 5)
    kept = [("abcde", 4), ("abcde", 3), ("abcde", 0)]
    assert found.kept == tuple(Example(tuple(ids(text)), first) for text, first in kept)
    assert found.tally == Tally(found=5, cut=3, left_out=2)


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.text("ab", max_size=8), st.text("cd", max_size=8)), min_size=1, max_size=9),
    block_tokens=st.integers(2, 12),
)
def test_every_pair_is_kept_whole_cut_or_counted(pairs: list[tuple[str, str]], block_tokens: int) -> None:
    found = encode_pairs(byte_tokenizer(), [Pair(*pair) for pair in pairs], block_tokens)
    lengths = [len(prompt) + len(completion) + 1 for prompt, completion in pairs]
    fits = [max(1, len(prompt)) < min(length, block_tokens) for (prompt, _), length in zip(pairs, lengths, strict=True)]
    assert len(found.kept) == sum(fits)
    assert found.tally.left_out == len(pairs) - sum(fits)
    assert found.tally.cut == sum(fit and length > block_tokens for fit, length in zip(fits, lengths, strict=True))
    assert all(example.targets >= 1 and len(example.ids) <= block_tokens for example in found.kept)


def test_documents_are_cut_into_pieces_of_their_own() -> None:
    found = encode_documents(byte_tokenizer(), ["abcdefg", "h", "ij", "klmnopqrs"], 4)
    texts = ["abcd", "efg", "ij", "klmn", "opqr"]
    assert found.kept == tuple(Example(tuple(ids(text)), 0) for text in texts)
    assert found.tally == Tally(found=7, cut=0, left_out=2)


@settings(deadline=None)
@given(
    documents=st.lists(
        st.text(st.sampled_from("ab \n"), min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=30
    ),
    fraction=st.floats(0.01, 0.5),
)
def test_documents_are_split_where_the_text_is(documents: list[str], fraction: float) -> None:
    corpus = Corpus("text:x", tuple(documents))
    heads, tails = split_documents(corpus, fraction)
    for documents_of_part, text in zip((heads, tails), split_text(corpus, fraction), strict=True):
        assert "".join("\n\n".join(documents_of_part).split()) == "".join(text.split())
        assert all(document in text for document in documents_of_part)


@given(count=st.integers(2, 500), fraction=st.floats(0.001, 0.5))
def test_both_parts_get_an_example(count: int, fraction: float) -> None:
    kept = split_examples(count, fraction)
    assert 1 <= kept < count
    assert abs((count - kept) - count * fraction) <= 1


def make_pairs(count: int) -> Pairs:
    return Pairs("jsonl:x", tuple(Pair("ask " * (1 + number % 3), f"<{number:03d}>") for number in range(count)))


def test_training_is_packed_and_evaluation_never() -> None:
    pairs = make_pairs(40)
    blocks = make_blocks(pairs, byte_tokenizer(), 48, 0.25, 0)
    assert blocks.train.examples is not None
    assert blocks.eval.examples is not None
    assert max(map(len, blocks.train.examples)) > 1
    assert {len(row) for row in blocks.eval.examples} == {1}
    assert sum(map(len, blocks.train.examples)) == 30
    assert len(blocks.eval) == 10
    assert blocks.tally == Tally(40, 0, 0)
    decoded = [byte_tokenizer().decode(row) for row in blocks.eval.tokens_NT]
    assert all(f"<{number:03d}>" in text for number, text in zip(range(30, 40), decoded, strict=True))
    padded = make_blocks(pairs, byte_tokenizer(), 48, 0.25, 4, packing=False)
    assert (len(padded.train), len(padded.eval)) == (30, 4)
    assert len(all_rows(pairs, byte_tokenizer(), 48)) == 40


def test_text_without_packing_is_a_row_for_each_document() -> None:
    documents = tuple(f"document {number} " + "x" * number for number in range(30))
    corpus = Corpus("text:x", documents)
    blocks = make_blocks(corpus, byte_tokenizer(), 64, 0.2, 0, packing=False)
    texts = [
        byte_tokenizer().decode(row[:length])
        for rows in (blocks.train, blocks.eval)
        for row, (length,) in zip(rows.tokens_NT, rows.examples or (), strict=True)
    ]
    assert texts == list(documents)
    assert blocks.tally == Tally(30, 0, 0)
    assert len(all_rows(corpus, byte_tokenizer(), 64, packing=False)) == 30


def test_pairs_come_from_several_tables_with_templates(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": "one", "n": 1}) + "\n")
    (tmp_path / "b.csv").write_text("q,n\ntwo,2\n")
    found = read_pairs([f"jsonl:{tmp_path}/a.jsonl", f"csv:{tmp_path}/b.csv"], "Say {q}: ", "{n}!")
    assert found.pairs == (Pair("Say one: ", "1!"), Pair("Say two: ", "2!"))
    assert found.text == "Say one: 1!\n\nSay two: 2!"
