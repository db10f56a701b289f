"""Markdown: tables, and docstrings as paragraphs, lists and code; no line is broken, so no terminal matters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

_CODE_SPAN = re.compile(r"(`[^`]+`)")
_ERROR_CODE = re.compile(r"\bSW-[A-Z]\d{3}\b")
_PAGE = re.compile(r"\bdocs/([\w-]+\.md)\b")
_SECTION = re.compile(r"(Args|Returns|Raises|Yields):$")
_ENTRY = re.compile(r"([\w.*, ]+): (.*)")


def page(title: str, blocks: Iterable[str]) -> str:
    """A whole page: its title, how to renew it, its blocks with a blank line between two."""
    made_by = "Made from the code by `python -m shieldwall.lab.reference --out docs/reference`; do not edit."
    return "\n\n".join([f"# {title}", made_by, *blocks]) + "\n"


def code(text: str) -> str:
    """Text as code inside a line."""
    return f"`{text}`"


def literal(value: object) -> str:
    """A value as a TOML file spells it, as code."""
    return code(json.dumps(value, ensure_ascii=False))


def fence(text: str, language: str = "") -> str:
    """Text as a block of code."""
    return f"```{language}\n{text}\n```"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def prose(text: str) -> str:
    """Plain text as one line of Markdown: code spans stay, marks are escaped, pages and codes are links."""
    parts = _CODE_SPAN.split(" ".join(text.split()))
    return "".join(part if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    escaped = re.sub(r"([*<])", r"\\\1", text)
    linked = _PAGE.sub(r"[\1](../\1)", escaped)
    return _ERROR_CODE.sub(lambda found: f"[{found[0]}](../errors/{found[0]}.md)", linked)


def docstring(text: str) -> list[str]:
    """A docstring without its indentation, as blocks of Markdown."""
    lines = text.strip().splitlines()
    paragraphs = [list(group) for blank, group in groupby(lines, lambda line: not line.strip()) if not blank]
    return [block for paragraph in paragraphs for block in _paragraph(paragraph)]


def first_paragraph(text: str) -> str:
    """The first paragraph of a docstring as one line of Markdown."""
    return prose(text.strip().split("\n\n")[0])


def _paragraph(lines: list[str]) -> Iterator[str]:
    section = _SECTION.match(lines[0])
    if section:
        yield f"**{section[1]}**"
        yield "\n".join(_entries(lines[1:]))
    elif lines[0].strip() == "\b":
        yield fence("\n".join(lines[1:]))
    elif all(line.startswith("    ") for line in lines):
        yield fence("\n".join(line[4:] for line in lines))
    elif lines[0].startswith("- "):
        yield "\n".join(f"- {prose(item)}" for item in re.split(r"(?m)^- ", "\n".join(lines)) if item)
    else:
        yield prose(" ".join(lines))


def _entries(lines: list[str]) -> Iterator[str]:
    """Lines such as `name: meaning`, each with its continuation, which is indented further."""
    joined: list[str] = []
    for line in lines:
        if line.startswith("     ") and joined:
            joined[-1] += f" {line.strip()}"
        else:
            joined.append(line.strip())
    for entry in joined:
        named = _ENTRY.fullmatch(entry)
        names = ", ".join(code(name.strip()) for name in named[1].split(",")) if named else ""
        yield f"- {names}: {prose(named[2])}" if named else f"- {prose(entry)}"
