"""Following rows: each must be the next, stand behind the one before, and have the hash of its own fields."""

from __future__ import annotations

import re
from typing import Any

from shieldwall.core.errors import LedgerError
from shieldwall.core.signing import Roster, Signed
from shieldwall.verify.ledger.parsing import statement_of
from shieldwall.verify.ledger.rows import GENESIS, Row, row_hash

_SIGNATURE = re.compile(r"[0-9a-f]{128}")

DISTRUST = "do not rely on this record from that row on; compare it with another copy of the same ledger"


class Chain:
    """The rows so far.

    Args:
        rows: how many came before.
        head: hash of the last of them.
    """

    def __init__(self, rows: int = 0, head: str = GENESIS) -> None:
        self.rows = rows
        self.head = head

    def follow(self, row: Row) -> None:
        """Take the next row.

        Raises:
            LedgerError: SW-L103; a row is missing, or this one is not what was written there.
        """
        if row.seq != self.rows:
            raise LedgerError(
                "SW-L103",
                f"row {self.rows} is missing" if row.seq > self.rows else f"row {row.seq} is out of place",
                row=min(self.rows, row.seq),
                where=str(row),
                expected=f"row {self.rows}",
                got=f"row {row.seq}",
                remedy=DISTRUST,
            )
        if row.previous != self.head:
            raise _broken(row, "stands behind another row than the one before it", self.head, row.previous)
        found = row_hash(row)
        if row.hash != found:
            raise _broken(row, "has another hash than its fields give", row.hash, found)
        self.rows, self.head = row.seq + 1, row.hash


def read_statement(row: Row) -> Any:
    """The statement of a row.

    Raises:
        LedgerError: SW-L107; the body is none of its kind.
    """
    try:
        return statement_of(row.kind, row.body)
    except ValueError as error:
        raise out_of_place(
            row, "has a body that cannot be read", f"a statement of kind {row.kind}", str(error)
        ) from error


def read_signed(row: Row) -> Signed[Any]:
    """The statement of a row with its signer's signature, which is not checked.

    Raises:
        LedgerError: SW-L104, what stands there can be no signature; SW-L107, the body is none of its kind.
    """
    if not _SIGNATURE.fullmatch(row.signature):
        raise _unsigned(row, "has no signature", "64 bytes as hexadecimal", f"{len(row.signature)} characters")
    return Signed(read_statement(row), row.signer, bytes.fromhex(row.signature))


def check_signature(row: Row, statement: Any, roster: Roster) -> None:
    """Whether the row's signer is known and has signed the row's statement, which `read_statement` made of its body.

    Raises:
        LedgerError: SW-L104.
    """
    if row.signer not in roster.keys:
        raise _unsigned(row, "is of a party that the ledger does not know", "a party of the run", repr(row.signer))
    if not _SIGNATURE.fullmatch(row.signature) or not roster.verifies(
        row.signer, statement.kind, row.body.encode(), bytes.fromhex(row.signature)
    ):
        raise _unsigned(
            row, f"is not signed by {row.signer}", f"{row.signer}'s signature of exactly this", "another or none"
        )


def out_of_place(row: Row, what: str, expected: str, got: str) -> LedgerError:
    """The error of a row that no honest writer would have put there."""
    return _refused("SW-L107", row, what, expected, got)


def _unsigned(row: Row, what: str, expected: str, got: str) -> LedgerError:
    return _refused("SW-L104", row, what, expected, got)


def _broken(row: Row, what: str, expected: str, got: str) -> LedgerError:
    return _refused("SW-L103", row, what, expected, got)


def _refused(code: str, row: Row, what: str, expected: str, got: str) -> LedgerError:
    return LedgerError(
        code,
        f"row {row.seq} {what}",
        row=row.seq,
        where=str(row),
        expected=expected,
        got=got,
        remedy=DISTRUST,
    )
