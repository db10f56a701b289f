"""Law G6: any change of a field, any row added, removed, swapped or cut from the tail shows, at the first bad row."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_believe import Teller, identity
from stored import STORIES, chained_anew, copy_of, read_rows, rows_of, run_sql, store, told

from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.errors import LedgerError, LedgerFileError, VerificationError
from shieldwall.core.signing import Identity, fingerprint
from shieldwall.verify.ledger import ClosingRecord, CommitRecord, verify_ledger
from shieldwall.verify.ledger.rows import SCHEMA, Row

names = st.sampled_from(sorted(STORIES))
columns = st.sampled_from(["seq", "step", "kind", "signer", "body", "signature", "previous", "hash"])
derandomized = settings(max_examples=60, deadline=None, derandomize=True)


def refusal(path: Path, name: str, *, with_key: bool = True, allow_open: bool = False) -> LedgerError:
    """How a ledger is refused."""
    with pytest.raises(LedgerError) as caught:
        verify_ledger(path, told(name)[1] if with_key else None, allow_open=allow_open)
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, VerificationError)
    return caught.value


def other_text(data: st.DataObject, text: str) -> str:
    """A text that differs from `text` in one character, or is one longer."""
    at = data.draw(st.integers(0, len(text)))
    if at == len(text):
        return text + "0"
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]


@pytest.mark.parametrize("name", sorted(STORIES))
def test_untouched_they_hold(name: str) -> None:
    with copy_of(name) as path:
        assert verify_ledger(path, told(name)[1]).key_given


@derandomized
@given(name=names, column=columns, data=st.data())
def test_a_changed_field_is_named(name: str, column: str, data: st.DataObject) -> None:
    rows = rows_of(name)
    row = data.draw(st.sampled_from(rows))
    old = getattr(row, column)
    if isinstance(old, int):
        new: Any = data.draw(st.sampled_from([old + 1, -1 - old, "text"])) if column == "step" else len(rows) + 5
    else:
        new = data.draw(st.sampled_from([other_text(data, old), "", old.encode()]))
    with copy_of(name) as path:
        run_sql(path, (f"UPDATE rows SET {column} = ? WHERE seq = ?", (new, row.seq)))  # noqa: S608 (ours)
        for with_key in (True, False):
            error = refusal(path, name, with_key=with_key, allow_open=True)
            assert error.row == row.seq
            assert error.code in ("SW-L102", "SW-L103")
            assert f"row {row.seq}" in str(error)


@derandomized
@given(name=names, data=st.data())
def test_a_removed_row_is_named(name: str, data: st.DataObject) -> None:
    rows = rows_of(name)
    row = data.draw(st.sampled_from(rows[:-1]))
    with copy_of(name) as path:
        run_sql(path, ("DELETE FROM rows WHERE seq = ?", (row.seq,)))
        error = refusal(path, name, allow_open=True)
    assert (error.code, error.row) == ("SW-L103", row.seq)
    assert f"row {row.seq} is missing" in str(error)


@derandomized
@given(name=names, data=st.data())
def test_an_added_row_is_named(name: str, data: st.DataObject) -> None:
    """A copy of a row at any place, those behind it moved up by one."""
    rows = rows_of(name)
    copied = data.draw(st.sampled_from(rows))
    at = data.draw(st.integers(0, len(rows)))
    added = [*rows[:at], copied, *rows[at:]]
    with copy_of(name) as path:
        store(path, [replace(row, seq=seq) for seq, row in enumerate(added)])
        error = refusal(path, name, allow_open=True)
    if at == copied.seq:
        at += 1  # the copy stands where the row itself stood; the row behind it is the one too many
    assert (error.code, error.row) == ("SW-L103", at)


@pytest.mark.parametrize("seq", [-1, -(2**63)])
@pytest.mark.parametrize("allow_open", [False, True])
def test_a_row_before_the_first_is_named(seq: int, allow_open: bool) -> None:
    """As `ledger show` would show it, it has to be seen by `verify`."""
    name = "eventful"
    verdict = next(row for row in rows_of(name) if row.kind == "verdict")
    with copy_of(name) as path:
        run_sql(path, ("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", replace(verdict, seq=seq).stored))
        error = refusal(path, name, allow_open=allow_open)
    assert (error.code, error.row) == ("SW-L103", seq)
    assert f"row {seq} is out of place" in str(error)


@pytest.mark.parametrize("seq", [0, 1, 10])
def test_a_field_that_sqlite_does_not_hand_out_is_named(seq: int) -> None:
    with copy_of("quiet") as path:
        run_sql(path, ("UPDATE rows SET body = zeroblob(?) WHERE seq = ?", (65 * 2**20, seq)))
        error = refusal(path, "quiet")
    assert (error.code, error.row) == ("SW-L101", seq)
    assert f"row {seq}" in str(error)


@derandomized
@given(name=names, data=st.data())
def test_two_swapped_rows_are_named(name: str, data: st.DataObject) -> None:
    rows = list(rows_of(name))
    first, second = sorted(data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=2, max_size=2, unique=True)))
    rows[first], rows[second] = replace(rows[second], seq=first), replace(rows[first], seq=second)
    with copy_of(name) as path:
        store(path, rows)
        error = refusal(path, name, allow_open=True)
    assert (error.code, error.row) == ("SW-L103", first)


@derandomized
@given(name=names, data=st.data())
def test_a_cut_tail_shows(name: str, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(rows_of(name)) - 1))
    with copy_of(name) as path:
        run_sql(path, ("DELETE FROM rows WHERE seq >= ?", (left,)))
        error = refusal(path, name)
        assert error.code == "SW-L106"
        assert "not closed: rows may be missing from its end" in str(error)
        assert error.row == left
        assert f"row {left}: the first that is missing" in error.where
        if left:
            report = verify_ledger(path, told(name)[1], allow_open=True)
            assert not report.closed
            assert "not closed" in report.warnings[0]


def next_head(rows: list[Row], seq: int) -> int:
    """The first row from `seq` on whose signature covers all rows before it."""
    return next(row.seq for row in rows[seq:] if row.kind in (CommitRecord.kind, ClosingRecord.kind))


def change_leaf(data: st.DataObject, content: Any) -> Any:
    """The same plain data with one value changed, somewhere inside."""
    if isinstance(content, dict) and content:
        key = data.draw(st.sampled_from(sorted(content)))
        return {**content, key: change_leaf(data, content[key])}
    if isinstance(content, list) and content:
        at = data.draw(st.integers(0, len(content) - 1))
        return [*content[:at], change_leaf(data, content[at]), *content[at + 1 :]]
    if isinstance(content, str):
        return other_text(data, content)
    if isinstance(content, int | float):
        return content + 1
    return "something"


@derandomized
@given(name=names, column=st.sampled_from(["step", "signer", "body", "signature"]), data=st.data())
def test_hashes_computed_anew_do_not_hide_a_change(name: str, column: str, data: st.DataObject) -> None:
    """Anyone can compute all hashes again; nobody without the key can sign."""
    rows = list(rows_of(name))
    row = data.draw(st.sampled_from(rows))
    if column == "step":
        changed = replace(row, step=row.step + data.draw(st.sampled_from([-1, 1])))
    elif column == "signer":
        others = sorted({each.signer for each in rows} | {"nobody"} - {row.signer})
        changed = replace(row, signer=data.draw(st.sampled_from([name for name in others if name != row.signer])))
    elif column == "body":
        changed = replace(row, body=canonical_bytes(change_leaf(data, json.loads(row.body))).decode())
    else:
        changed = replace(row, signature=other_text(data, row.signature))
    rows[row.seq] = changed
    with copy_of(name) as path:
        store(path, chained_anew(rows))
        error = refusal(path, name, allow_open=True)
    assert error.row == row.seq
    assert error.code in ("SW-L104", "SW-L105", "SW-L107")


@derandomized
@given(name=names, kind=st.sampled_from(["removed", "copied", "swapped", "kind"]), data=st.data())
def test_hashes_computed_anew_do_not_hide_a_move(name: str, kind: str, data: st.DataObject) -> None:
    """Rows removed, added or moved break the next commit at the latest, whose signature covers the head before it."""
    rows = list(rows_of(name))
    seq = data.draw(st.integers(0, len(rows) - 2))
    changed, latest = list(rows), next_head(rows, seq)
    if kind == "removed":
        del changed[seq]
        latest = next_head(rows, seq + 1)
    elif kind == "copied":
        changed.insert(seq, rows[seq])
        latest += 1
    elif kind == "swapped":
        other = data.draw(st.integers(seq + 1, len(rows) - 1))
        changed[seq], changed[other] = rows[other], rows[seq]
        latest = next_head(rows, seq + 1)
    else:
        others = sorted({row.kind for row in rows} | {"correction"} - {rows[seq].kind})
        changed[seq] = replace(rows[seq], kind=data.draw(st.sampled_from([k for k in others if k != rows[seq].kind])))
        latest = next_head(rows, seq + 1)
    with copy_of(name) as path:
        store(path, chained_anew(changed))
        error = refusal(path, name)
    assert error.row is not None
    assert seq <= error.row <= latest
    assert error.code in ("SW-L104", "SW-L107", "SW-L108", "SW-L109")


def test_a_ledger_of_another_key_holds_only_for_those_who_ask_for_none(tmp_path: Path) -> None:
    """Somebody writes the whole run again with a key of their own."""

    class Forger(Teller):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.parties = {name: Identity(name, identity(f"forged {name}").key) for name in self.parties}

    path = Forger(tmp_path, STORIES["small"]).tell()
    error = refusal(path, "small")
    assert (error.code, error.row) == ("SW-L105", 0)
    report = verify_ledger(path)
    assert report.run_key == fingerprint(identity("forged initiator").public) != told("small")[1]
    assert report.warnings == (
        "the key is the ledger's own word; compare it with the one shown at the start of the run",
    )


def test_a_fingerprint_may_be_written_as_people_write_it() -> None:
    with copy_of("small") as path:
        key = told("small")[1]
        assert verify_ledger(path, ":".join(re.findall("..", key)).upper() + "\n").key_given


@pytest.mark.parametrize(
    "command",
    [
        "CREATE TABLE more (a)",
        "CREATE INDEX quick ON rows (kind)",
        "CREATE VIEW seen AS SELECT * FROM rows",
        "CREATE TRIGGER t AFTER INSERT ON rows BEGIN SELECT 1; END",
        "ALTER TABLE rows ADD COLUMN note TEXT",
        "ALTER TABLE rows RENAME COLUMN body TO text",
        "ALTER TABLE rows RENAME TO lines",
        "DROP TABLE rows",
        "PRAGMA application_id = 1",
    ],
)
def test_what_does_not_belong_into_the_file_is_refused(command: str) -> None:
    with copy_of("small") as path:
        run_sql(path, (command, ()))
        assert refusal(path, "small").code == "SW-L102"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(name=names, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_touches_no_row(name: str, place: float, bit: int) -> None:
    """Bytes that hold no field, such as the free room of a page, say nothing; all others say that they were changed."""
    raw = bytearray(told(name)[0])
    raw[int(place * len(raw))] ^= 1 << bit
    with copy_of(name) as path:
        path.write_bytes(raw)
        try:
            report = verify_ledger(path, told(name)[1])
        except LedgerError:
            return
        assert report.closed
        assert read_rows(path) == rows_of(name)


@derandomized
@given(name=names, share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_refused(name: str, share: float) -> None:
    raw = told(name)[0]
    with copy_of(name) as path:
        path.write_bytes(raw[: int(share * len(raw))])
        assert refusal(path, name).code == "SW-L101"


def test_a_file_with_something_behind_it_is_refused() -> None:
    with copy_of("small") as path:
        path.write_bytes(told("small")[0] + bytes(4096))
        assert refusal(path, "small").code == "SW-L101"


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "ledger.sqlite"
    other.write_text("step,loss\n0,1.5\n" * 1000)
    assert refusal(other, "small").code == "SW-L101"


def test_where_there_is_no_ledger_the_input_is_bad(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "ledger.sqlite"):
        with pytest.raises(LedgerFileError, match="SW-L201: there is no ledger") as caught:
            verify_ledger(path)
        assert caught.value.exit_code == 2


def test_text_that_is_no_text_names_its_row() -> None:
    with copy_of("small") as path:
        run_sql(path, ("UPDATE rows SET body = CAST(x'ff00' AS TEXT) WHERE seq = 4", ()))
        error = refusal(path, "small")
        assert (error.code, error.row) == ("SW-L101", 4)


def test_a_body_nested_without_end_is_refused() -> None:
    rows = list(rows_of("small"))
    rows[4] = replace(rows[4], body="[" * 200_000)
    with copy_of("small") as path:
        store(path, chained_anew(rows))
        error = refusal(path, "small")
        assert (error.code, error.row) == ("SW-L107", 4)


def test_the_form_is_that_of_the_file() -> None:
    with copy_of("small") as path, closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == [(SCHEMA,)]
