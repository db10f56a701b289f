"""Cut a corpus in two: the head is for training, the tail for evaluation, and no character is in both.

The cut never goes through a document where there are enough documents to choose from:

    20 documents or more    | doc | doc | doc |  train <- cut -> eval  | doc |     at the end of a document
    fewer                   | line line line line <- cut -> line line  |           at the end of a line
    no line end inside      | characters <- cut -> characters          |           where the fraction says
"""

from __future__ import annotations

from itertools import accumulate

from shieldwall.core.errors import CorpusError
from shieldwall.data.corpora import SEPARATOR, Corpus

ENOUGH_DOCUMENTS = 20
"""From this many documents on, the cut lies between two of them."""


def split_text(corpus: Corpus, eval_fraction: float) -> tuple[str, str]:
    """Training text and evaluation text of `corpus`.

    Args:
        corpus: documents in order.
        eval_fraction: share of the characters that evaluation should get, in (0, 0.5]. The cut is the allowed place
            nearest to it, so the true share differs by up to half a document or half a line.

    Returns:
        The head and the tail. With 20 documents or more, the blank line at the cut belongs to neither; with fewer,
        both together are the whole text.

    Raises:
        CorpusError: SW-D110, the fraction is out of range.
    """
    check_fraction(eval_fraction)
    if len(corpus.documents) >= ENOUGH_DOCUMENTS:
        return _between_documents(corpus.documents, eval_fraction)
    text = corpus.text
    cut = _line_end(text, _target(len(text), eval_fraction))
    return text[:cut], text[cut:]


def split_documents(corpus: Corpus, eval_fraction: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The documents of the training text and those of the evaluation text, cut in the place where `split_text` cuts.

    With fewer than 20 documents the one that the cut goes through is in both, its head here and its tail there.

    Raises:
        CorpusError: SW-D110, the fraction is out of range.
    """
    check_fraction(eval_fraction)
    documents = corpus.documents
    if len(documents) >= ENOUGH_DOCUMENTS:
        count = _documents_before(documents, eval_fraction)
        return documents[:count], documents[count:]
    text = corpus.text
    cut = _line_end(text, _target(len(text), eval_fraction))
    starts = [0, *accumulate(len(document) + len(SEPARATOR) for document in documents)]
    heads = (document[: max(0, cut - start)] for start, document in zip(starts, documents, strict=False))
    tails = (document[max(0, cut - start) :] for start, document in zip(starts, documents, strict=False))
    return tuple(filter(str.strip, heads)), tuple(filter(str.strip, tails))


def split_examples(count: int, eval_fraction: float) -> int:
    """How many of `count` examples, the first ones, are for training; at least one is left for each part.

    Args:
        count: of examples, at least 2.
        eval_fraction: share of the examples that evaluation should get, in (0, 0.5].

    Raises:
        CorpusError: SW-D110, the fraction is out of range.
    """
    check_fraction(eval_fraction)
    return count - max(1, round(count * eval_fraction))


def check_fraction(eval_fraction: float) -> None:
    """Refuse a share that leaves nothing to measure on, or more than half.

    Raises:
        CorpusError: SW-D110.
    """
    if not 0.0 < eval_fraction <= 0.5:
        raise CorpusError(
            "SW-D110",
            "the evaluation's share of the text is out of range",
            where="data.eval_fraction",
            expected="more than 0 and at most 0.5",
            got=f"{eval_fraction}",
            remedy="0.1 gives a tenth of the text to evaluation",
        )


def _target(characters: int, eval_fraction: float) -> int:
    return characters - round(characters * eval_fraction)


def _between_documents(documents: tuple[str, ...], eval_fraction: float) -> tuple[str, str]:
    count = _documents_before(documents, eval_fraction)
    return SEPARATOR.join(documents[:count]), SEPARATOR.join(documents[count:])


def _documents_before(documents: tuple[str, ...], eval_fraction: float) -> int:
    ends = list(accumulate(len(document) + len(SEPARATOR) for document in documents))
    target = _target(ends[-1] - len(SEPARATOR), eval_fraction)
    return min(range(1, len(documents)), key=lambda kept: abs(ends[kept - 1] - target))


def _line_end(text: str, target: int) -> int:
    """The end of a line nearest to `target` that leaves text on both sides, else `target` itself."""
    before = text.rfind("\n", 0, min(target, len(text) - 1)) + 1
    after = text.find("\n", target) + 1
    inside = [cut for cut in (before, after) if 0 < cut < len(text)]
    return min(inside, key=lambda cut: abs(cut - target), default=target)
