"""Each row of the failure matrix names a test that is there."""

from __future__ import annotations

import re

import pytest
from pages import DOCS

PAGE = (DOCS / "failure-matrix.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE[PAGE.index("| failure |") :].split("\n\n")[0].splitlines()[2:]
]


def test_there_are_rows() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_says_everything_and_names_its_test(row: list[str]) -> None:
    assert len(row) == 5
    assert all(row)
    [named] = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[-1])
    path, test = named
    assert f"def {test}(" in (DOCS.parent / path).read_text(encoding="utf-8")
