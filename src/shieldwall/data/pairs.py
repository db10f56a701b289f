"""Prompts and completions, made of the fields of a table's records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shieldwall.core.errors import CorpusError
from shieldwall.data.corpora import SEPARATOR, empty_corpus, find_scheme, specs_of
from shieldwall.data.split import check_fraction, split_examples
from shieldwall.data.tables import TABLES, read_records
from shieldwall.data.tables.record import Record
from shieldwall.data.templates import Template


@dataclass(frozen=True, slots=True)
class Pair:
    """What the model is given, and what it is to say."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """Prompts with their completions, and the spec they were read from."""

    spec: str
    pairs: tuple[Pair, ...]

    @property
    def text(self) -> str:
        """All of it in order, with a blank line between two pairs; for training a tokenizer."""
        return SEPARATOR.join(pair.prompt + pair.completion for pair in self.pairs)


def read_pairs(spec: str | Sequence[str], prompt: str, completion: str, *, split: str = "train") -> Pairs:
    """Read a prompt and a completion from each record of one table or several.

    Args:
        spec: of tables, without a field: `jsonl:PATH`, `csv:PATH`, `parquet:PATH`, `hf:NAME[/CONFIG]`.
        prompt: a field's name, or a template such as `Question: {question}`.
        completion: likewise.
        split: the split to read where there are splits (`hf:`).

    Raises:
        CorpusError: SW-D101, SW-D102, a spec cannot be used; SW-D107, there are no records; SW-D109, a record lacks a
            field; SW-D119, the corpus has no fields; SW-D120, a template cannot be read; and what the readers raise.
    """
    specs = specs_of(spec)
    templates = Template.parse("data.prompt", prompt), Template.parse("data.completion", completion)
    pairs = tuple(
        Pair(*(template.fill(record) for template in templates)) for each in specs for record in _records(each, split)
    )
    if not pairs:
        raise empty_corpus(specs, "at least one record", "none")
    return Pairs(", ".join(specs), pairs)


def split_pairs(pairs: Pairs, eval_fraction: float) -> tuple[Pairs, Pairs]:
    """The first pairs for training, the last for evaluation, at least one for each.

    Raises:
        CorpusError: SW-D110, the fraction is out of range; SW-D124, there is one pair alone.
    """
    check_fraction(eval_fraction)
    if len(pairs.pairs) < 2:
        raise too_few_examples(pairs.spec, "a single record", "give more records")
    count = split_examples(len(pairs.pairs), eval_fraction)
    return Pairs(pairs.spec, pairs.pairs[:count]), Pairs(pairs.spec, pairs.pairs[count:])


def too_few_examples(spec: str, got: str, remedy: str) -> CorpusError:
    """The error SW-D124."""
    return CorpusError(
        "SW-D124",
        "there are too few examples",
        where=f'data.corpus = "{spec}"',
        expected="at least one example for training and one for evaluation",
        got=got,
        remedy=remedy,
    )


def _records(spec: str, split: str) -> Iterator[Record]:
    scheme, argument = find_scheme(spec)
    if scheme not in TABLES:
        raise CorpusError(
            "SW-D119",
            "the corpus has no fields to make prompts of",
            where=f'data.corpus = "{spec}"',
            expected=f"one of {', '.join(sorted(TABLES))}, then a colon and a path or name, as data.prompt is set",
            got=f'"{scheme}", whose documents are plain text',
            remedy='give a table, or leave data.prompt and data.completion out (--prompt "" --completion "" for eval)',
        )
    return read_records(scheme, argument, split)
