"""Every error code has its page, and every page its code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("SW-*.md"))
CODE = re.compile(r"\bSW-[A-Z]\d{3}\b")


def codes_in_source() -> set[str]:
    """Every code that the package names; groups in docstrings, such as `SW-M1...`, are none."""
    return {code for path in (ROOT / "src").rglob("*.py") for code in CODE.findall(path.read_text(encoding="utf-8"))}


def test_codes_and_pages_are_the_same() -> None:
    """One page for each code, none twice and none left over."""
    assert [page.stem for page in PAGES] == sorted(codes_in_source())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_its_code_and_a_way_out(page: Path) -> None:
    """The title begins with the code, the way out has its heading, and the example is a message of this very code."""
    text = page.read_text(encoding="utf-8")
    title = text.splitlines()[0]
    assert re.fullmatch(rf"# {page.stem}: .+", title)
    assert re.search(r"^(## What to do$|\*\*What to do\.\*\* )", text, re.MULTILINE)
    assert re.search(rf"^\w+ {page.stem}: .+$", text, re.MULTILINE)
    assert f"page      docs/errors/{page.stem}.md" in text
