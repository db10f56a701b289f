"""`shieldwall ledger` over what runs leave, and where their keys lie."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attacked import LIAR, configured, write_config
from commands import Finished, shieldwall
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shieldwall import Hook, Summary, train
from shieldwall.core.hooks import Border
from shieldwall.run.rejudge import Rejudged
from shieldwall.verify.ledger import LedgerReport
from shieldwall.verify.ledger.keys import read_evidence_key, read_run_key, write_key


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """An attacked run, and what its command said."""
    folder = tmp_path_factory.mktemp("runs")
    result = shieldwall("train", write_config(folder / "run.toml", [LIAR], "run.steps=2"), "--run", folder / "run")
    assert result.code == 0, result.err
    return folder / "run", result


@pytest.fixture
def copy(told: tuple[Path, Finished], tmp_path: Path) -> Path:
    shutil.copytree(told[0], tmp_path / "run")
    return tmp_path / "run"


def key_shown(result: Finished) -> str:
    return next(line.split()[-1] for line in result.err.splitlines() if line.startswith("run key "))


def test_the_key_that_the_run_shows_verifies_its_ledger(told: tuple[Path, Finished]) -> None:
    folder, result = told
    verified = shieldwall("ledger", "verify", folder, "--run-key", key_shown(result))
    assert verified.code == 0, verified.err
    assert "the ledger of run run holds" in verified.out
    assert "(as given)" in verified.out
    assert "2 steps" in verified.out
    assert shieldwall("ledger", "verify", folder / "ledger.sqlite").code == 0
    found = shieldwall("ledger", "verify", folder, "--json").json()
    assert found["verified"] is True
    assert found["config_root"] == Summary.read(folder / "summary.json").config_root


def test_another_key_does_not(told: tuple[Path, Finished]) -> None:
    other = shieldwall("ledger", "verify", told[0], "--run-key", "0" * 64)
    assert other.code == 3
    assert "SW-L105" in other.err
    assert other.out == ""


def test_a_changed_row_shows(copy: Path) -> None:
    with closing(sqlite3.connect(copy / "ledger.sqlite")) as connection:
        connection.execute("UPDATE rows SET body = replace(body, 'worker-2', 'worker-3') WHERE kind = 'verdict'")
        connection.commit()
    result = shieldwall("ledger", "verify", copy)
    assert result.code == 3
    assert "SW-L103" in result.err


def test_rows_cut_from_the_end_show(copy: Path) -> None:
    with closing(sqlite3.connect(copy / "ledger.sqlite")) as connection:
        connection.execute("DELETE FROM rows WHERE seq >= (SELECT max(seq) - 4 FROM rows)")
        connection.commit()
    result = shieldwall("ledger", "verify", copy)
    assert result.code == 3
    assert "SW-L106" in result.err


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be one" * 100])
def test_a_damaged_file_is_named(content: bytes, copy: Path) -> None:
    (copy / "ledger.sqlite").write_bytes(content)
    for command in (["verify"], ["show"], ["show", "--verdicts"]):
        result = shieldwall("ledger", *command, copy)
        assert result.code == 3
        assert "SW-L101" in result.err
        assert "Traceback" not in result.err


def test_where_no_ledger_is_the_input_is_wrong(tmp_path: Path) -> None:
    for command in (["verify"], ["show"]):
        result = shieldwall("ledger", *command, tmp_path)
        assert result.code == 2
        assert "SW-L201" in result.err


def test_verdicts_are_shown_in_words_and_for_programs(told: tuple[Path, Finished]) -> None:
    folder, _ = told
    summary = Summary.read(folder / "summary.json")
    words = shieldwall("ledger", "show", folder, "--verdicts").out
    assert words.count("worker-2 is the culprit. Rule 1, wrong compute") == len(summary.verdicts)
    rows = shieldwall("ledger", "show", folder, "--verdicts", "--json").json()
    assert [{key: row[key] for key in summary.verdicts[0]} for row in rows] == summary.verdicts
    for row in rows:
        assert row["evidence"]
        assert all((folder / "evidence" / f"{root}.sealed").is_file() for root in row["evidence"])
    steps = shieldwall("ledger", "show", folder, "--json").json()["steps"]
    assert [step["step"] for step in steps if step["committed"]] == [0, 1]
    assert [step["verdicts"] for step in steps if step["committed"]] == [len(rows), 0]


def test_keys_are_for_their_owner_alone_and_stand_nowhere_else(told: tuple[Path, Finished]) -> None:
    folder, result = told
    private = folder / "private"
    assert private.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in private.iterdir()} == {
        "run.key": 0o600,
        "evidence.key": 0o600,
    }
    run_key, evidence_key = read_run_key(private / "run.key"), read_evidence_key(private / "evidence.key")
    secrets = [*forms(run_key.private_bytes_raw()), *forms(evidence_key.private_bytes_raw())]
    assert (private / "run.key").read_text().strip().encode() in secrets  # they would be found
    others = [path for path in folder.rglob("*") if path.is_file() and path.parent != private]
    assert folder / "ledger.sqlite" in others
    said = [path.read_bytes() for path in others] + [result.out.encode(), result.err.encode()]
    assert not any(secret in text for secret in secrets for text in said)


def forms(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret).rstrip(b"=")]


def test_a_key_that_others_may_read_is_refused_on_resume(copy: Path) -> None:
    (copy / "summary.json").unlink()
    (copy / "private" / "run.key").chmod(0o644)
    result = shieldwall("train", "--run", copy, "--resume")
    assert result.code == 2
    assert "SW-L204" in result.err
    assert (copy / "metrics.jsonl").exists()


class Killed(Exception):  # noqa: N818 (stands for a signal)
    """The process ends here."""


class Stops(Hook):
    """The process ends in the third step."""

    async def after_forward(self, border: Border, activation_BTD: Any) -> Any:
        if border.slot.step == 2:
            raise Killed
        return activation_BTD


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checked run that has two steps of three and goes on."""
    folder = tmp_path_factory.mktemp("runs") / "run"

    settings = configured([], "run.steps=3", "checkpoint.every_steps=1")
    with pytest.raises(Killed):
        train(settings, folder=folder, hooks_of={"worker-2": [Stops()]})
    return folder


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("gone", [["run.key"], ["evidence.key"], ["run.key", "evidence.key"]], ids="+".join)
def test_a_run_goes_on_with_its_own_keys_alone(gone: list[str], stopped: Path, tmp_path: Path) -> None:
    """Story: resumed without private/, a run made new keys, and sealed its evidence to one that nobody expected."""
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    if len(gone) == 2:
        shutil.rmtree(folder / "private")
    else:
        (folder / "private" / gone[0]).unlink()
    before = everything_in(folder)
    result = shieldwall("train", "--run", folder, "--resume")
    assert result.code == 2
    assert "SW-L204" in result.err
    assert gone[0] in result.err
    assert everything_in(folder) == before


def test_evidence_is_sealed_for_one_key_alone(stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    (folder / "private" / "evidence.key").unlink()
    write_key(folder / "private" / "evidence.key", X25519PrivateKey.generate())
    before = everything_in(folder)
    result = shieldwall("train", "--run", folder, "--resume")
    assert result.code == 2
    assert "SW-L204" in result.err
    assert "evidence.key" in result.err
    assert everything_in(folder) == before


def test_a_run_does_not_go_on_over_a_ledger_that_was_changed_in_its_middle(stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        connection.execute("UPDATE rows SET body = body || ' ' WHERE seq = 5")
        connection.commit()
    before = everything_in(folder)
    result = shieldwall("train", "--run", folder, "--resume")
    assert result.code == 3
    assert "SW-L103" in result.err
    assert everything_in(folder) == before


def test_untouched_it_goes_on(stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    assert shieldwall("train", "--run", folder, "--resume").code == 0
    assert shieldwall("ledger", "verify", folder).code == 0


def test_what_is_no_plain_file_is_said_to_be_none(told: tuple[Path, Finished], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/null")):
        result = shieldwall("ledger", "verify", path)
        assert result.code == 2
        assert "something that is no plain file" in result.err
    key = shieldwall("ledger", "verify", told[0], "--reviewer-key", told[0] / "private")
    assert key.code == 2
    assert "SW-L204" in key.err
    assert "got       a folder" in key.err


def test_the_command_counts_what_was_falsified(told: tuple[Path, Finished]) -> None:
    fired = Summary.read(told[0] / "summary.json").attacks_fired
    assert fired
    assert f"attacks: {fired} falsified\n" in told[1].out


def test_one_is_written_in_the_singular() -> None:
    report = LedgerReport(run="run", run_key="", key_given=True, config_root="", evidence_key="", rows=1)
    report.steps = report.slots = report.settlements = report.corrections = report.receipts = report.alerts = 1
    told = str(report)
    assert "1 row, 1 step\n" in told
    assert "1 tensor signed for, 1 settlement, 1 correction, 1 receipt\n" in told
    assert "1 alert, 0 verdicts\n" in told
    assert str(Rejudged(1, 1)) == "judged again  1 verdict upheld; 1 has no evidence"


@pytest.mark.parametrize("key", ["abc", "", "g" * 64, "0" * 63])
def test_what_is_no_fingerprint_is_wrong_input(key: str, told: tuple[Path, Finished]) -> None:
    result = shieldwall("ledger", "verify", told[0], "--run-key", key)
    assert result.code == 2
    assert "SW-L206" in result.err
    assert "64 hexadecimal digits" in result.err


def test_a_fingerprint_may_be_written_as_people_do(told: tuple[Path, Finished]) -> None:
    plain = key_shown(told[1])
    spaced = " ".join(plain[at : at + 4].upper() for at in range(0, len(plain), 4))
    assert shieldwall("ledger", "verify", told[0], "--run-key", spaced).code == 0


def test_attacks_are_listed_for_programs_and_people() -> None:
    listed = shieldwall("attacks", "--json").json()
    kinds = [each["kind"] for each in listed]
    assert {"sign_flip", "gaussian", "scale", "own_weights"} <= set(kinds)
    table = shieldwall("attacks").out
    assert all(kind in table for kind in kinds)
    factor = next(each for each in listed if each["kind"] == "scale")["parameters"][0]
    assert (factor["name"], factor["default"]) == ("factor", 10)
