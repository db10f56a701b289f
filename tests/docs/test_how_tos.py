"""Every page that tells a reader what to do is followed, command by command, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import DOCS, follow

ELSEWHERE = {
    "how-to-add-a-family.md": "tests/models/test_how_to_add_a_family.py",
    "how-to-convert-llama2c.md": "tests/lab/test_llama2c_real.py",
    "tutorial.md": "tests/docs/test_tutorial.py",
}
"""Pages that need or promise more than the others, and the test that follows them."""

PAGES = sorted([*DOCS.glob("how-to-*.md"), DOCS / "tutorial.md"])


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, warm_programs: Path, tmp_path: Path) -> None:
    follow(page, tmp_path, warm_programs)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_other_pages_are_followed_elsewhere(name: str) -> None:
    test = DOCS.parent / ELSEWHERE[name]
    assert name in test.read_text()
    assert (DOCS / name).exists()


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index] == []
