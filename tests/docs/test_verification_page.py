"""The page on verification names every statement that hosts make, and every rule of the referee."""

from __future__ import annotations

import re

from pages import DOCS

from shieldwall.core.verdicts import RULES, CaseDirection, Verdict
from shieldwall.verify.ledger.parsing import INITIATOR_KINDS, KINDS
from shieldwall.verify.ledger.show import rule_in_words

PAGE = (DOCS / "verification.md").read_text(encoding="utf-8")


def first_cells(header: str) -> list[str]:
    """The first cell of each row of the table that begins with `header`."""
    lines = PAGE[PAGE.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [line.strip("|").split("|")[0].strip() for line in lines]


def test_every_statement_of_a_host_is_in_the_table() -> None:
    found = {name for cell in first_cells("| statement | by |") for name in cell.split(", ")}
    names = {"gradients": "gradient claim"}
    assert found == {names.get(kind, kind) for kind in KINDS - INITIATOR_KINDS}


def test_every_rule_is_there_in_the_order_of_the_referee() -> None:
    """Rule 1 has two outcomes; rule 6 is spoken of below the table."""
    cells = first_cells("| rule | question |")
    assert [int(cell[0]) for cell in cells] == [4, 3, 2, 5, 1, 1]
    assert {int(cell[0]) for cell in cells} | {6} == set(RULES)
    assert "Rule 6 " in PAGE


def test_rules_have_the_names_that_the_ledger_shows() -> None:
    cells = re.findall(r"^\| (\d) ([\w ]+?) \|", PAGE, re.MULTILINE)
    for number, name in cells:
        accuser = "ash" if name == "false accusation" else "birch"
        assert rule_in_words(verdict(int(number), accuser))[0] == name


def verdict(rule: int, accuser: str) -> Verdict:
    """Of a case in which ash is the culprit."""
    return Verdict(
        run="r",
        view=0,
        attempt=0,
        step=0,
        micro_batch=0,
        direction=CaseDirection.FORWARD,
        stage=1,
        culprit="ash",
        rule=rule,
        accuser=accuser,
        expected="",
        got="",
        reason="",
    )
