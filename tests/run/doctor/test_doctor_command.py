"""`shieldwall doctor` and what `join` does first: lines, JSON, exit codes, and that nothing is begun in vain."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from listening_run import NEED, PATIENT, ListeningRun, listening_run, senses

from shieldwall.cli import main
from shieldwall.core.errors import TransportError
from shieldwall.run.machines.doctor.examine import Doctor
from shieldwall.run.machines.doctor.fitness import check_fitness
from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.ticket import Ticket


@pytest.fixture
def run(tmp_path: Path) -> Iterator[ListeningRun]:
    with listening_run(tmp_path / "run") as found:
        yield found


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["shieldwall", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def expired(run: ListeningRun) -> Ticket:
    return run.ticket(now=utc_now() - timedelta(days=2), lasts=timedelta(hours=1))


def test_one_line_for_each_check(
    run: ListeningRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    before = run.book()
    code = command(monkeypatch, "doctor", expired(run).text(), "--home", home, "--device", "cpu")
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert {line[:6] for line in lines} == {"pass  ", "FAIL  "}
    assert all(("; do: " in line) is line.startswith("FAIL") for line in lines)
    assert [invitation.used for invitation in run.book()[0]] == [0]
    assert run.book()[1] == before[1]
    assert not home.exists()


def test_json_for_scripts(
    run: ListeningRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command(monkeypatch, "doctor", run.ticket().text(), "--home", tmp_path, "--device", "cpu", "--json")
    found = json.loads(capsys.readouterr().out)
    assert {frozenset(each) for each in found} == {frozenset({"check", "about", "passed", "saw", "remedy", "prevents"})}
    assert code == (0 if all(each["passed"] for each in found) else 1)
    assert {"ticket", "certificate", "round trip", "bandwidth to the run"} <= {each["check"] for each in found}


@pytest.mark.parametrize("text", ["hello", "sw1.AAAA", "sw9.AAAA"])
def test_what_is_no_ticket_is_bad_input(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "doctor", text) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "TicketError SW-T20" in shown.err


def test_join_looks_first_and_begins_nothing_in_vain(
    run: ListeningRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert command(monkeypatch, "join", run.ticket(address).text(), "--home", home, "--device", "cpu") == 1
    shown = capsys.readouterr().err
    assert f"FAIL  port {address}: refused" in shown
    assert "TransportError SW-T120: this machine cannot take part in run test as it is" in shown
    assert f"  where     {address}" in shown
    assert "  do next   see that the run still goes on and listens" in shown
    assert not home.exists()


def test_only_what_prevents_taking_part_stops_join(run: ListeningRun, tmp_path: Path) -> None:
    told: list[str] = []

    def check(limits: Limits = PATIENT, **changed: object) -> None:
        told.clear()
        doctor = Doctor(home=tmp_path / "home", device="cpu", thorough=False, senses=senses(**changed), limits=limits)
        check_fitness(doctor, run.ticket(), told.append)

    check()
    [line] = told
    assert line.startswith("all ")
    assert line.endswith(" checks passed")
    check(replace(PATIENT, round_trip_s=0))
    [line] = told
    assert line.startswith(f"FAIL  round trip {run.address}: ")
    older = {"torch": "2.6.1"}
    with pytest.raises(TransportError, match="SW-T120"):
        check(installed=lambda name: older.get(name, NEED.versions.get(name, "99.0")))
    [line] = told
    assert line.startswith("FAIL  same version torch: 2.6.1 here")
    with pytest.raises(TransportError, match="SW-T120") as refused:
        check(free_memory_bytes=lambda _: 1)
    [line] = told
    assert line.startswith("FAIL  memory: ")
    assert line.partition("do: ")[2] == refused.value.remedy
    assert not (tmp_path / "home").exists()


def test_a_member_whose_run_is_away_goes_on_looking_for_it(tmp_path: Path) -> None:
    """Story: a worker that was started again while its run was being resumed must not be sent home."""
    home, told = tmp_path / "home", list[str]()
    with listening_run(tmp_path / "run") as run:
        ticket = run.ticket()
        run.joined(home, ticket)
    check_fitness(Doctor(home=home, device="cpu", thorough=False, senses=senses()), ticket, told.append)
    [line] = told
    assert line.startswith(f"FAIL  port {run.address}: refused")
    stranger = Doctor(home=tmp_path / "other", device="cpu", thorough=False, senses=senses())
    with pytest.raises(TransportError, match="SW-T120"):
        check_fitness(stranger, ticket, told.append)
