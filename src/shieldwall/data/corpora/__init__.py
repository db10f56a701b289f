"""Where text comes from: one module for each kind of corpus.

A spec is `SCHEME` or `SCHEME:ARGUMENT`, cut at the first colon. The scheme names a reader in `CORPORA`; the reader
takes the argument and gives documents. A new kind of corpus is a new module, or a package's entry point in the group
`shieldwall.corpora`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from shieldwall.core.errors import CorpusError
from shieldwall.core.registry import Registry

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
        "jsonl": "shieldwall.data.corpora.jsonl:read",
    },
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and the spec they were read from."""

    spec: str
    documents: tuple[str, ...]

    @property
    def text(self) -> str:
        """All documents in order, with a blank line between two."""
        return SEPARATOR.join(self.documents)


def read_corpus(spec: str) -> Corpus:
    """Read the corpus that `spec` names; documents of white space alone are left out.

    Raises:
        CorpusError: SW-D101, the scheme is unknown; SW-D107, there is no text; and what the scheme's reader raises.
    """
    scheme, _, argument = spec.partition(":")
    if scheme not in CORPORA:
        raise _unknown_scheme(spec, scheme)
    reader = cast("Reader", CORPORA[scheme])
    documents = tuple(document for document in reader(argument) if document.strip())
    if not documents:
        raise CorpusError(
            "SW-D107",
            "the corpus is empty",
            where=f'data.corpus = "{spec}"',
            expected="at least one document with text in it",
            got="no text, or nothing but white space",
            remedy="name a corpus that holds text, such as pydoc",
        )
    return Corpus(spec, documents)


def _unknown_scheme(spec: str, scheme: str) -> CorpusError:
    known = sorted(CORPORA)
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
