"""The page of the ledger says what the code does."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from stored import copy_of

from shieldwall.verify.ledger.parsing import INITIATOR_KINDS, KINDS
from shieldwall.verify.ledger.show import show_ledger

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")


def table(header: str) -> list[list[str]]:
    """The cells of the table that begins with `header`."""
    lines = PAGE[PAGE.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_columns_are_those_of_the_file() -> None:
    with copy_of("small") as path, closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(rows)")]
    assert [cells[0].strip("`") for cells in table("Column")] == columns


def test_every_kind_is_there_with_its_signer() -> None:
    signers = {kind: cells[1] for cells in table("Kind") for kind in re.findall(r"`(\w+)`", cells[0])}
    assert set(signers) == KINDS
    assert {kind for kind, signer in signers.items() if signer == "initiator"} == INITIATOR_KINDS


def test_the_verdict_in_words_is_what_the_code_prints() -> None:
    with copy_of("eventful") as path:
        first = show_ledger(path, verdicts=True).split("\n\n")[0]
    assert f"```\n{first}\n```" in PAGE


def test_verifying_needs_no_torch() -> None:
    """Whoever verifies a ledger needs its file, and neither the model nor what computes it."""
    script = "import sys, shieldwall.verify.ledger.check, shieldwall.verify.ledger.show; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
