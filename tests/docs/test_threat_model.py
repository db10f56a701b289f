"""The threat model names tests and rules that are there, and leaves out no kind of attack."""

from __future__ import annotations

import re
from pathlib import Path

from pages import DOCS

from shieldwall.attacks import list_attacks

ROOT = DOCS.parent
PAGE = (DOCS / "threat-model.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table whose first line begins with `header`, without its two head lines."""
    lines = PAGE[PAGE.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def has_test(named: str) -> bool:
    """Whether a file of tests is there, and in it the test if one is named."""
    path, _, test = named.partition("::")
    file = ROOT / path
    return file.exists() and (not test or f"def {test}(" in file.read_text(encoding="utf-8"))


def test_every_guarantee_is_there_with_tests_that_exist() -> None:
    found = {cells[0].split()[0]: cells for cells in rows("| | guarantee |")}
    assert list(found) == [f"G{number}" for number in range(1, 9)]
    for name, cells in found.items():
        named = re.findall(r"`(tests/[\w./:-]+)`", cells[-1])
        assert named, f"{name} names no test"
        assert [test for test in named if not has_test(test)] == []


def test_every_test_that_the_page_names_exists() -> None:
    assert [test for test in re.findall(r"`(tests/[\w./:-]+)`", PAGE) if not has_test(test)] == []


def test_every_kind_of_attack_is_in_the_table_and_no_other() -> None:
    kinds = {kind for cells in rows("| kind | where it is caught |") for kind in re.findall(r"`(\w+)`", cells[0])}
    assert kinds == {kind["kind"] for kind in list_attacks()}


def test_what_the_page_refers_to_exists() -> None:
    pages = re.findall(r"\]\(([\w./-]+\.md)", PAGE)
    assert [page for page in pages if not Path(DOCS / page).exists()] == []
