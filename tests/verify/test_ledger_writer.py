"""Whole steps are on the disk, or none of their rows; and what is there can be gone on with."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from make_believe import QUIET, RUN, Story, Teller, identity, root
from stored import read_rows, run_sql

from shieldwall.core.errors import LedgerError, LedgerFileError, StorageError
from shieldwall.core.statements import Receipt
from shieldwall.verify.ledger import CommitRecord, LedgerWriter, read_tail, verify_ledger

ENDLESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from make_believe import Story, Teller
teller = Teller(Path(sys.argv[1]), Story(steps=10**9))
writer = teller.begin()
while True:
    print(writer.step, teller.tell_step(writer), flush=True)
"""

KILLED_INSIDE = """
import os, signal, sqlite3, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from make_believe import Story, Teller
connect, inserts = sqlite3.connect, int(sys.argv[3])

def die_in_time(command):
    global inserts
    inserts -= command.startswith("INSERT")
    if inserts < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(*args, **options):
    connection = connect(*args, **options)
    connection.execute("PRAGMA cache_size = 2")  # pages reach the file long before the commit
    connection.set_trace_callback(die_in_time)
    return connection

teller = Teller(Path(sys.argv[1]), Story(steps=10**9))
writer = teller.begin()
for _ in range(3):
    print(writer.step, teller.tell_step(writer), flush=True)
writer.release()
sqlite3.connect = watched
from shieldwall.verify.ledger import LedgerWriter
writer = LedgerWriter.reopen(Path(sys.argv[1]), teller.initiator)
while True:
    print(writer.step, teller.tell_step(writer), flush=True)
"""


def commit(writer: LedgerWriter) -> str:
    """The commit of step 1 of a run with three micro-batches."""
    return writer.commit_step(
        attempt=0,
        micro_batches=3,
        state_roots={stage: root("state", 2, stage) for stage in range(4)},
        clip_coefficients=dict.fromkeys(range(4), 1.0),
        learning_rate=1e-3,
        norm=1.0,
    )


def start(script: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(folder), str(Path(__file__).parent), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def assert_whole(folder: Path, promised: dict[int, str]) -> int:
    """Every step that was promised is there, whole, and nothing of any other; returns how many there are."""
    report = verify_ledger(folder, allow_open=True)
    rows = read_rows(folder / "ledger.sqlite")
    heads = [row.hash for row in rows if row.kind == CommitRecord.kind]
    assert rows[-1].kind == CommitRecord.kind
    assert [promised[step] for step in sorted(promised)] == heads[: len(promised)]
    assert report.steps == len(heads)
    return report.steps


def promises(lines: list[str]) -> dict[int, str]:
    return {int(line.split()[0]): line.split()[1] for line in lines}


@pytest.mark.parametrize("steps", [1, 7])
def test_a_kill_between_transactions_leaves_whole_steps(steps: int, tmp_path: Path) -> None:
    child = start(ENDLESS, tmp_path)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(steps)]
    child.kill()
    rest = child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    done = promises([line for line in lines + rest if line.endswith("\n")])
    assert len(done) >= steps
    assert assert_whole(tmp_path, done) in (len(done), len(done) + 1)


@pytest.mark.parametrize("inserts", [1, 20, 60])
def test_a_kill_within_a_transaction_leaves_whole_steps(inserts: int, tmp_path: Path) -> None:
    """Half of a step's rows are in the file already when the process dies; whoever opens it next takes them back."""
    child = start(KILLED_INSIDE, tmp_path, str(inserts))
    out, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "ledger.sqlite-journal").stat().st_size > 0  # it did die in the middle
    done = promises(out.splitlines())
    assert assert_whole(tmp_path, done) == len(done)
    teller = Teller(tmp_path, QUIET)
    teller.attempt = 1
    writer = LedgerWriter.reopen(tmp_path, teller.initiator)
    assert writer.step == len(done)
    writer.resume(writer.step, 1)
    teller.states = {stage: root("state", writer.step, stage) for stage in range(4)}
    teller.tell_step(writer)
    writer.close()
    assert verify_ledger(tmp_path).steps == len(done) + 1


def test_nothing_of_a_step_is_there_before_its_commit(tmp_path: Path) -> None:
    teller = Teller(tmp_path, QUIET)
    writer = teller.begin()
    before = len(read_rows(writer.path))
    teller.tell_micro_batch(writer, 0, 0, 0)
    assert len(read_rows(writer.path)) == before == writer.rows
    assert verify_ledger(tmp_path, allow_open=True).rows == before
    writer.flush()
    assert len(read_rows(writer.path)) == writer.rows > before
    writer.release()


def test_others_read_while_it_is_written(tmp_path: Path) -> None:
    """A reader in the middle of the ledger does not keep the writer waiting, and sees what was there and what comes."""
    teller = Teller(tmp_path, QUIET)
    writer = teller.begin()
    for steps in range(1, 4):
        teller.tell_step(writer)
        assert verify_ledger(tmp_path, allow_open=True).steps == steps
        assert read_tail(tmp_path, teller.initiator).step == steps
    writer.close()


def test_a_closed_ledger_is_one_file_and_stays_as_it_is(tmp_path: Path) -> None:
    teller = Teller(tmp_path, QUIET)
    teller.tell()
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    with pytest.raises(LedgerFileError, match=r"SW-L202.*\n.*\n.*without a closing row"):
        LedgerWriter.reopen(tmp_path, teller.initiator)
    with pytest.raises(LedgerFileError, match="SW-L202"):
        teller.begin()
    assert verify_ledger(tmp_path).closed


def test_a_released_ledger_is_gone_on_with(tmp_path: Path) -> None:
    """A run that was stopped: its last receipts are kept, and the chain goes on where it was."""
    teller = Teller(tmp_path, QUIET)
    writer = teller.begin()
    teller.tell_step(writer)
    teller.keep_receipts(writer)
    writer.release()
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    again = LedgerWriter.reopen(tmp_path, teller.initiator)
    assert (again.head, again.rows, again.step) == (writer.head, writer.rows, 1)
    teller.go_on(again, 1)
    teller.tell_step(again)
    again.close()
    report = verify_ledger(tmp_path)
    assert (report.steps, report.receipts) == (2, 3)


def test_only_the_runs_own_key_goes_on(tmp_path: Path) -> None:
    teller = Teller(tmp_path, replace(QUIET, closed=False))
    teller.tell()
    with pytest.raises(LedgerFileError, match="SW-L202") as caught:
        LedgerWriter.reopen(tmp_path, identity("somebody else"))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("column", ["body", "signature", "hash", "previous"])
def test_a_changed_end_is_not_gone_on_with(column: str, tmp_path: Path) -> None:
    teller = Teller(tmp_path, replace(QUIET, closed=False))
    path = teller.tell()
    last_commit = max(row.seq for row in read_rows(path) if row.kind == CommitRecord.kind)
    run_sql(path, (f"UPDATE rows SET {column} = {column} || '0' WHERE seq = ?", (last_commit,)))  # noqa: S608 (ours)
    with pytest.raises(LedgerError, match=r"SW-L10[347]") as caught:
        LedgerWriter.reopen(tmp_path, teller.initiator)
    assert caught.value.row == last_commit


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk; once there is room, the same step commits."""
    teller = Teller(tmp_path, Story(micro_batches=3))
    writer = teller.begin()
    teller.tell_step(writer)
    size_bytes = writer.path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    head = writer.head
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 4096, before[1]))
    try:
        with pytest.raises(StorageError, match=r"SW-S101: could not write ledger\.sqlite"):
            teller.tell_step(writer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert (writer.head, writer.step) == (head, 1)
    assert verify_ledger(tmp_path, allow_open=True).steps == 1
    commit(writer)  # what waited still waits
    assert len(read_rows(writer.path)) == writer.rows
    writer.close()
    assert verify_ledger(tmp_path).steps == 2


def test_a_kind_that_no_ledger_has_is_refused(tmp_path: Path) -> None:
    teller = Teller(tmp_path, QUIET)
    writer = teller.begin()
    receipt = teller.initiator.sign(Receipt(run=RUN, step=0, head=""))
    with pytest.raises(ValueError, match="no rows of kind 'gossip'"):
        writer.append(receipt, "gossip")
    with pytest.raises(ValueError, match="cannot go on from step 1"):
        writer.resume(1, 1)
    writer.release()
