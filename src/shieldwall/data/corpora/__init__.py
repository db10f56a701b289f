"""Where text comes from: one module for each kind of corpus.

A spec is `SCHEME` or `SCHEME:ARGUMENT`, cut at the first colon. The scheme names a reader in `CORPORA`, which takes
the argument and gives documents, or a kind of table in `TABLES`, of which one field is read. A new kind of corpus is a
new module, or a package's entry point in the group `shieldwall.corpora`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from shieldwall.core.errors import CorpusError
from shieldwall.core.registry import Registry
from shieldwall.data.tables import TABLES, read_documents

Reader = Callable[[str], Iterable[str]]
"""Takes the spec's argument (`""` where there is none) and gives the documents, always in the same order."""

SEPARATOR = "\n\n"
"""What stands between two documents: a blank line."""

CORPORA = Registry(
    "shieldwall.corpora",
    {
        "pydoc": "shieldwall.data.corpora.pydoc:read",
        "stdlib": "shieldwall.data.corpora.stdlib:read",
        "text": "shieldwall.data.corpora.text:read",
    },
)
"""Scheme to a function of the spec's argument that gives the documents, as `Reader` says; see docs/data.md."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and the spec they were read from."""

    spec: str
    """Where there are several: all of them, with commas."""
    documents: tuple[str, ...]

    @property
    def text(self) -> str:
        """All documents in order, with a blank line between two."""
        return SEPARATOR.join(self.documents)


def read_corpus(spec: str | Sequence[str], *, text_field: str = "text", split: str = "train") -> Corpus:
    """Read the corpus that `spec` names, or several in a row; documents of white space alone are left out.

    Args:
        spec: one spec or several.
        text_field: the field to read where a spec cannot name one (`hf:`).
        split: the split to read where there are splits (`hf:`).

    Raises:
        CorpusError: SW-D101, the scheme is unknown; SW-D107, there is no text; and what the scheme's reader raises.
    """
    specs = specs_of(spec)
    documents = tuple(document for each in specs for document in _read(each, text_field, split) if document.strip())
    if not documents:
        raise empty_corpus(specs, "at least one document with text in it", "no text, or nothing but white space")
    return Corpus(", ".join(specs), documents)


def specs_of(spec: str | Sequence[str]) -> tuple[str, ...]:
    """One spec, or several, as several."""
    return (spec,) if isinstance(spec, str) else tuple(spec)


def find_scheme(spec: str) -> tuple[str, str]:
    """Scheme and argument of a spec.

    Raises:
        CorpusError: SW-D101; nobody has such a scheme.
    """
    scheme, _, argument = spec.partition(":")
    if scheme not in CORPORA and scheme not in TABLES:
        raise _unknown_scheme(spec, scheme)
    return scheme, argument


def _read(spec: str, text_field: str, split: str) -> Iterable[str]:
    scheme, argument = find_scheme(spec)
    if scheme in TABLES:
        return read_documents(scheme, argument, text_field, split)
    return cast("Reader", CORPORA[scheme])(argument)


def empty_corpus(specs: Sequence[str], expected: str, got: str) -> CorpusError:
    """The error SW-D107."""
    return CorpusError(
        "SW-D107",
        "the corpus is empty",
        where=f'data.corpus = "{", ".join(specs)}"',
        expected=expected,
        got=got,
        remedy="name a corpus that holds text, such as pydoc",
    )


def _unknown_scheme(spec: str, scheme: str) -> CorpusError:
    known = sorted({*CORPORA, *TABLES})
    near = get_close_matches(scheme, known, n=1)
    if any(mark in scheme for mark in "./\\"):
        remedy = f'for a text file, put its kind before it: data.corpus = "text:{spec}"'
    elif near:
        remedy = f"did you mean {near[0]}?"
    else:
        remedy = "use one of the known kinds, or install the package that adds this one"
    return CorpusError(
        "SW-D101",
        f'unknown kind of corpus "{scheme}"',
        where=f'data.corpus = "{spec}"',
        expected=f"one of {', '.join(known)}, then a colon and its argument where it takes one",
        got=f'"{scheme}"',
        remedy=remedy,
    )
