"""What the run says to whoever shows the ticket: expired, used up, banned, unknown; clocks, versions and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from listening_run import NEED, ListeningRun, examine, failed, listening_run, only_failure

from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.home import CHAIN, TLS_KEY

HOUR = timedelta(hours=1)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[ListeningRun]:
    with listening_run(tmp_path / "run") as found:
        yield found


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_a_clock_that_is_off_by_an_hour(off: timedelta, run: ListeningRun, tmp_path: Path) -> None:
    ticket = run.ticket(lasts=3 * HOUR)
    findings = failed(examine(tmp_path, ticket, clock=lambda: datetime.now(UTC) + off))
    [found] = [each for each in findings if each.check != "clock"]  # it may be older than the package, too
    assert (found.check, found.prevents) == ("clock against the run's", True)
    assert ("ahead of" if off > timedelta(0) else "behind") in found.saw
    assert failed(examine(tmp_path, ticket)) == []


def test_a_ticket_that_has_expired(run: ListeningRun, tmp_path: Path) -> None:
    findings = examine(tmp_path, run.ticket(now=utc_now() - 2 * HOUR))
    assert [(each.check, each.prevents) for each in failed(findings)] == [("ticket", True), ("admission", True)]
    assert "shieldwall invite RUN" in failed(findings)[0].remedy


def test_a_ticket_that_has_expired_by_the_clock_of_the_run_alone(run: ListeningRun, tmp_path: Path) -> None:
    ticket = run.ticket(now=utc_now() - HOUR - timedelta(minutes=1))
    found = only_failure(examine(tmp_path, ticket, clock=lambda: datetime.now(UTC) - timedelta(minutes=3)))
    assert (found.check, found.saw) == ("admission", "the ticket has expired by the clock of the run")


def test_a_ticket_that_the_run_has_forgotten(run: ListeningRun, tmp_path: Path) -> None:
    findings = failed(examine(tmp_path, run.ticket(now=utc_now() - timedelta(days=3))))
    assert [each.check for each in findings] == ["ticket", "admission"]
    assert "ends the connection" in findings[1].saw


def test_a_ticket_that_is_used_up(run: ListeningRun, tmp_path: Path) -> None:
    ticket = run.ticket(uses=1)
    assert failed(examine(tmp_path / "home", ticket)) == []
    run.joined(tmp_path / "first", ticket)
    found = only_failure(examine(tmp_path / "home", ticket))
    assert (found.check, found.prevents) == ("admission", True)
    assert "used up" in found.saw
    assert failed(examine(tmp_path / "first", ticket)) == []


def test_a_home_that_was_in_the_run_before_may_come_again(run: ListeningRun, tmp_path: Path) -> None:
    """Its certificate is over by now, and the run takes no second use of whoever came with the ticket."""
    ticket, home = run.ticket(lasts=3 * HOUR), tmp_path / "home"
    run.joined(home, ticket)
    chain = home / "runs" / ticket.fingerprint / CHAIN
    chain.write_bytes(b"of no use any more")
    assert failed(examine(home, ticket)) == []


def test_a_member_needs_no_ticket_that_is_still_good(run: ListeningRun, tmp_path: Path) -> None:
    ticket, home = run.ticket(lasts=timedelta(seconds=60)), tmp_path / "home"
    run.joined(home, ticket)
    later = timedelta(minutes=2)
    found = examine(home, ticket, clock=lambda: datetime.now(UTC) + later)
    assert failed(found) == []
    assert any("this home is worker-1 in the run" in finding.saw for finding in found)
    others = failed(examine(tmp_path / "other", ticket, clock=lambda: datetime.now(UTC) + later))
    assert [each.check for each in others] == ["ticket", "admission"]


def test_a_member_that_is_banned(run: ListeningRun, tmp_path: Path) -> None:
    ticket, home = run.ticket(), tmp_path / "home"
    run.joined(home, ticket)
    run.gate.book.ban("worker-1", "lied in step 3", utc_now())
    found = only_failure(examine(home, ticket))
    assert found.check == "admission"
    assert "SW-T223" in found.saw
    assert run.refusals == ["SW-T223"]
    run.gate.book.unban("worker-1", utc_now())
    assert failed(examine(home, ticket)) == []


def test_a_key_of_the_run_that_others_can_read(run: ListeningRun, tmp_path: Path) -> None:
    ticket, home = run.ticket(uses=2), tmp_path / "home"
    run.joined(home, ticket)
    key = home / "runs" / ticket.fingerprint / TLS_KEY
    key.chmod(0o640)
    found = only_failure(examine(home, ticket))
    assert (found.check, found.about, found.prevents) == ("keys", str(key), True)


def test_too_little_memory_for_the_plan(run: ListeningRun, tmp_path: Path) -> None:
    ticket = run.ticket()
    found = only_failure(examine(tmp_path, ticket, free_memory_bytes=lambda _: NEED.worker_bytes - 1))
    assert (found.check, found.prevents) == ("memory", True)
    assert "the plan needs 5 MiB of a worker" in found.saw
    assert failed(examine(tmp_path, ticket, free_memory_bytes=lambda _: NEED.worker_bytes)) == []


@pytest.mark.parametrize("name", NEED.versions)
def test_a_run_that_has_another_version(name: str, tmp_path: Path) -> None:
    facts = replace(NEED, versions={**NEED.versions, name: "77.0"})
    with listening_run(tmp_path / "other", facts) as other:
        found = only_failure(examine(tmp_path, other.ticket()))
    assert (found.check, found.about, found.prevents) == ("same version", name, True)
    assert "77.0 at the run" in found.saw
