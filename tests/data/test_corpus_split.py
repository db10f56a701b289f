"""The law of the split: no character of the evaluation text was trained on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.data import Corpus, read_corpus, split_text

texts = st.text(st.sampled_from("ab \n"), max_size=60)
fractions = st.floats(0.001, 0.5)


def numbered(first: int, count: int, width: int = 0) -> str:
    return "".join(f"<{number:06d}>{'.' * width}\n" for number in range(first, first + count))


def numbered_documents(lengths: list[int]) -> tuple[str, ...]:
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    return tuple(numbered(start, length) for start, length in zip(starts, lengths, strict=True))


@settings(deadline=None)
@given(documents=st.lists(texts, max_size=19), fraction=fractions)
def test_few_documents_are_cut_once(documents: list[str], fraction: float) -> None:
    """Head and tail put together are the text, so no position is in both and none is lost."""
    corpus = Corpus("text:x", tuple(documents))
    train, evaluation = split_text(corpus, fraction)
    assert train + evaluation == corpus.text
    if "\n" in corpus.text[:-1]:
        assert train.endswith("\n")
        assert evaluation


@settings(deadline=None)
@given(documents=st.lists(texts, min_size=20, max_size=40), fraction=fractions)
def test_many_documents_are_cut_between_two(documents: list[str], fraction: float) -> None:
    train, evaluation = split_text(Corpus("text:x", tuple(documents)), fraction)
    cuts = [("\n\n".join(documents[:place]), "\n\n".join(documents[place:])) for place in range(1, len(documents))]
    assert (train, evaluation) in cuts
    assert f"{train}\n\n{evaluation}" == "\n\n".join(documents)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=40), fraction=fractions)
def test_no_line_is_in_both(lengths: list[int], fraction: float) -> None:
    documents = numbered_documents(lengths)
    train, evaluation = split_text(Corpus("text:x", documents), fraction)
    head, tail = train.split(), evaluation.split()
    assert head
    assert tail
    assert head + tail == "".join(documents).split()


@settings(deadline=None)
@given(lines=st.integers(2, 200), width=st.integers(0, 30), fraction=fractions)
def test_the_cut_is_the_line_end_nearest_to_the_fraction(lines: int, width: int, fraction: float) -> None:
    text = numbered(0, lines, width)
    train, _ = split_text(Corpus("text:x", (text,)), fraction)
    line = len(text) // lines
    target = len(text) - round(len(text) * fraction)
    possible = [line * count for count in range(1, lines)]
    assert abs(len(train) - target) == min(abs(cut - target) for cut in possible)


def test_the_cut_is_the_document_end_nearest_to_the_fraction() -> None:
    documents = tuple("x" * 100 for _ in range(40))
    train, evaluation = split_text(Corpus("text:x", documents), 0.1)
    assert train == "\n\n".join(documents[:36])
    assert evaluation == "\n\n".join(documents[36:])


@pytest.mark.parametrize(
    ("text", "train", "evaluation"), [("abcdefghij", "abcde", "fghij"), ("ab\n", "a", "b\n"), ("", "", "")]
)
def test_a_text_of_one_line_is_cut_inside_it(text: str, train: str, evaluation: str) -> None:
    assert split_text(Corpus("text:x", (text,)), 0.5) in {(train, evaluation), (text[:1], text[1:])}


def test_pydoc_gives_a_tenth_to_evaluation() -> None:
    corpus = read_corpus("pydoc")
    train, evaluation = split_text(corpus, 0.1)
    assert 0.05 < len(evaluation) / len(corpus.text) < 0.15
    assert len(train) + len(evaluation) + 2 == len(corpus.text)
