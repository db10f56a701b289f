"""`data.prompt` and `data.completion`: a field's name, or a text with fields in braces.

    question                                  the field "question"
    Question: {question}\\nAnswer:             a text around it
    {{"q": "{question}"}}                     doubled braces stand for themselves

A name between braces is a name and nothing else: no attribute, no index, no format is ever looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

from shieldwall.core.errors import CorpusError
from shieldwall.data.tables.record import Record

MORE_THAN_A_NAME = frozenset(".[]{}")


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and fields in turn."""

    key: str
    """The configuration's key, for messages."""
    parts: tuple[tuple[str, str | None], ...]
    """A text, and the field that follows it; None where the text is the last."""

    @classmethod
    def parse(cls, key: str, text: str) -> Template:
        """Read a template.

        Args:
            key: `data.prompt` or `data.completion`.
            text: without a brace it is a field's name.

        Raises:
            CorpusError: SW-D120; a brace without its partner, or something else than names between braces.
        """
        if not {"{", "}"} & set(text):
            return cls(key, (("", text),))
        try:
            found = list(Formatter().parse(text))
        except ValueError as error:
            raise _unreadable(key, str(error)) from error
        for _, name, form, conversion in found:
            _check_name(key, name, form, conversion)
        parts = tuple((literal, name) for literal, name, _, _ in found)
        if all(name is None for _, name in parts):
            raise _unreadable(key, "no field between braces, so every example would be the same")
        return cls(key, parts)

    def fill(self, record: Record) -> str:
        """The text for one record.

        Raises:
            CorpusError: SW-D109, SW-D108; a field is not there or holds no text.
        """
        remedy = f"correct {self.key}, or the record"
        written = [(text, "" if name is None else record.written(name, remedy)) for text, name in self.parts]
        return "".join(text + value for text, value in written)


def _check_name(key: str, name: str | None, form: str | None, conversion: str | None) -> None:
    if name is None:
        return
    if not name or MORE_THAN_A_NAME & set(name) or form or conversion:
        suffix = (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        raise _unreadable(key, f"{{{name}{suffix}}}")


def _unreadable(key: str, got: str) -> CorpusError:
    return CorpusError(
        "SW-D120",
        "the template cannot be read",
        where=key,
        expected="a field's name, or a text with at least one {field}; nothing but a name between braces",
        got=got,
        remedy="write {{ and }} for braces that are meant as such",
    )
