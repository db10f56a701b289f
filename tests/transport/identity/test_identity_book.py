"""The book: one key is one member, a use is taken once, and a key alone says who somebody is."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from gates import ADDRESS, HOUR, NOW, guest_of, invite, newcomer

from shieldwall.core.errors import EnrolmentError, IdentityError, TicketError
from shieldwall.transport.identity.book import REMEMBERED, Book
from shieldwall.transport.identity.book_file import BOOK_FILE
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.members import Invitation, Member, State

SECOND = timedelta(seconds=1)

ENROL = """
import sys
from gates import NOW, newcomer
from pathlib import Path
from shieldwall.core.errors import TicketError
from shieldwall.transport.identity.book import Book

pytest_plugins = ["gate_fixture"]

book = Book.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(book.enrol(sys.argv[2], newcomer(wish="oslo"), NOW).name)
except TicketError as error:
    print(error.code)
"""


def book_and_ticket(gate: Gate, uses: int = 1) -> tuple[Book, str]:
    return gate.book, guest_of(gate, invite(gate, uses=uses)).id


def test_eight_processes_that_race_for_three_uses_get_three(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate, uses=3)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", ENROL, str(book.path.parent), invitation],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = sorted(racer.communicate()[0].strip() for racer in racers)
    assert said == ["SW-T205"] * 5 + ["oslo", "oslo-2", "oslo-3"]
    assert [member.name for member in book.members()] == ["oslo", "oslo-2", "oslo-3"]
    assert book.invitations(NOW)[0].used == 3


def test_an_invitation_ends_with_its_last_use_or_its_last_second(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate, uses=2)
    book.enrol(invitation, newcomer(), NOW)
    book.enrol(invitation, newcomer(), NOW + HOUR - SECOND)
    with pytest.raises(TicketError, match="SW-T205: the ticket is used up") as refused:
        book.enrol(invitation, newcomer(), NOW)
    assert "2 joined before" in str(refused.value)
    with pytest.raises(TicketError, match="SW-T204: the ticket has expired") as late:
        book.enrol(invitation, newcomer(), NOW + HOUR)
    assert "2026-03-01 15:22:07 UTC by the clock of the run" in str(late.value)
    with pytest.raises(EnrolmentError, match="SW-T226"):
        book.enrol("00" * 32, newcomer(), NOW)
    assert len(book.members()) == 2


def test_guests_are_let_in_for_a_day_longer_to_be_told_why_not(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate)
    assert [each.id for each in book.invitations(NOW)] == [invitation]
    assert book.invitations(NOW)[0].is_open(NOW + HOUR - SECOND)
    assert not book.invitations(NOW)[0].is_open(NOW + HOUR)
    book.enrol(invitation, newcomer(), NOW)
    assert not book.invitations(NOW)[0].is_open(NOW)
    assert len(book.invitations(NOW + HOUR + REMEMBERED - SECOND)) == 1
    assert book.invitations(NOW + HOUR + REMEMBERED) == ()
    assert gate.roots(NOW + HOUR + REMEMBERED) == gate.authority.certificate_pem


def test_a_refused_enrolment_takes_no_use_and_writes_nothing(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate)
    other = guest_of(gate, invite(gate)).id
    member = book.enrol(other, newcomer(tls_key="aa" * 32), NOW)
    for refused, code in (
        (newcomer(wish="Not A Name"), "SW-T224"),
        (newcomer(tls_key="aa" * 32), "SW-T225"),  # refused after the member was written down
        (newcomer(tls_key=invitation), "SW-T225"),
        (newcomer(tls_key=other), "SW-T225"),
    ):
        with pytest.raises(EnrolmentError, match=code):
            book.enrol(invitation, refused, NOW)
        assert book.members() == (member,)
        assert not {each.id: each for each in book.invitations(NOW)}[invitation].used
    assert book.enrol(invitation, newcomer(), NOW).name == "worker-2"


def test_one_signing_key_is_one_member(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate, uses=2)
    somebody = newcomer(wish="oslo")
    first = book.enrol(invitation, somebody, NOW)
    again = book.enrol(invitation, replace(somebody, wish="delft", tls_key="bb" * 32), NOW + SECOND)
    assert again.name == "oslo"
    assert book.invitations(NOW)[0].used == 1, "its answer may have been lost on the way"
    fresh = guest_of(gate, invite(gate)).id
    assert book.enrol(fresh, somebody, NOW).name == "oslo"
    assert {each.id: each.used for each in book.invitations(NOW)} == {invitation: 1, fresh: 1}
    assert [member.signing_key for member in book.members()] == [first.signing_key]


def test_whose_answer_was_lost_can_ask_again_with_a_used_up_ticket(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate)
    somebody = newcomer(wish="oslo")
    assert book.enrol(invitation, somebody, NOW) == book.enrol(invitation, somebody, NOW)


def test_a_banned_key_is_refused_with_any_ticket(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate, uses=2)
    somebody = newcomer(wish="oslo")
    book.enrol(invitation, somebody, NOW)
    banned = book.ban("oslo", "lied at step 7", NOW + SECOND)
    assert (banned.state, banned.why, banned.since) == (State.BANNED, "lied at step 7", NOW + SECOND)
    for ticket in (invitation, guest_of(gate, invite(gate)).id):
        with pytest.raises(EnrolmentError, match='SW-T223: "oslo" is banned from the run') as refused:
            book.enrol(ticket, somebody, NOW)
        assert "lied at step 7" in str(refused.value)
    assert sorted(each.used for each in book.invitations(NOW)) == [0, 1]
    with pytest.raises(EnrolmentError, match="SW-T223"):
        book.peer(somebody.tls_key, NOW)
    with pytest.raises(EnrolmentError, match="SW-T223"):
        book.renew("oslo", somebody.tls_key, NOW + HOUR)
    assert book.leave("oslo", "went away", NOW).state is State.BANNED
    assert book.enrol(invitation, newcomer(wish="oslo"), NOW).name == "oslo-2", "its name stays its own"
    assert book.unban("oslo", NOW).state is State.ACTIVE
    assert book.enrol(invitation, somebody, NOW).name == "oslo"


def test_who_has_left_comes_back_with_a_ticket(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate, uses=2)
    somebody = newcomer(wish="oslo")
    book.enrol(invitation, somebody, NOW)
    assert book.leave("oslo", "stopped by its owner", NOW).state is State.LEFT
    with pytest.raises(EnrolmentError, match='SW-T228: "oslo" has left the run'):
        book.peer(somebody.tls_key, NOW)
    with pytest.raises(EnrolmentError, match="SW-T228"):
        book.renew("oslo", somebody.tls_key, NOW + HOUR)
    assert book.unban("oslo", NOW).state is State.LEFT, "nobody had banned it"
    assert book.enrol(invitation, somebody, NOW).state is State.ACTIVE
    assert isinstance(book.peer(somebody.tls_key, NOW), Member)


def test_a_key_alone_says_who_somebody_is(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate)
    somebody = newcomer(wish="oslo")
    member = book.enrol(invitation, somebody, NOW)
    guest = book.peer(invitation, NOW)
    assert isinstance(guest, Invitation)
    assert book.peer(somebody.tls_key, NOW + HOUR - SECOND) == member
    with pytest.raises(EnrolmentError, match='SW-T227: the certificate of "oslo" has ended'):
        book.peer(somebody.tls_key, NOW + HOUR)
    assert member.certified_until == NOW + HOUR
    renewed = book.renew("oslo", "cc" * 32, NOW + 2 * HOUR)
    assert book.peer("cc" * 32, NOW + HOUR) == renewed
    with pytest.raises(EnrolmentError, match="SW-T227"):
        book.peer(somebody.tls_key, NOW + HOUR)
    with pytest.raises(EnrolmentError, match="SW-T226: nobody in the run's book has this key"):
        book.peer("dd" * 32, NOW)


def test_names_are_numbered_where_another_key_has_them(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate, uses=20)
    wishes = ["oslo", "oslo", "oslo-2", "", "worker-2", "", "a" * 32, "a" * 32]
    names = [book.enrol(invitation, newcomer(wish=wish), NOW).name for wish in wishes]
    assert names == ["oslo", "oslo-2", "oslo-2-2", "worker-1", "worker-2", "worker-3", "a" * 32, "a" * 32 + "-2"]
    for bad in ("Oslo", "-a", "a-", "a" * 33, "a b", "ö", "a\n", "coordinator", "initiator", "server", "shieldwall"):
        with pytest.raises(EnrolmentError, match="SW-T224: no member can have this name") as refused:
            book.enrol(invitation, newcomer(wish=bad), NOW)
        assert repr(bad) in str(refused.value)


def test_nobody_of_that_name(gate: Gate) -> None:
    book, invitation = book_and_ticket(gate)
    with pytest.raises(IdentityError, match='SW-T214: no member is called "oslo"') as refused:
        book.ban("oslo", "", NOW)
    assert "nobody has joined yet" in str(refused.value)
    book.enrol(invitation, newcomer(wish="delft"), NOW)
    with pytest.raises(IdentityError, match="one of: delft"):
        book.unban("oslo", NOW)


def test_what_one_process_writes_another_reads(gate: Gate) -> None:
    beside = Gate.load(gate.book.path.parent)
    gate.book.set_addresses([ADDRESS, "[::1]:1"])
    assert beside.book.addresses == (ADDRESS, "[::1]:1")
    assert beside.book.run == "run-7"
    ticket = beside.invite(uses=1, lasts=HOUR, now=NOW)
    assert ticket.addresses == (ADDRESS, "[::1]:1")
    assert guest_of(gate, ticket).root_der in [each.root_der for each in gate.book.invitations(NOW)]
    gate.book.enrol(guest_of(gate, ticket).id, newcomer(wish="oslo"), NOW)
    assert beside.book.ban("oslo", "", NOW).name == "oslo"
    assert gate.book.members()[0].state is State.BANNED


def test_nobody_is_invited_by_a_ticket_that_cannot_be(gate: Gate) -> None:
    with pytest.raises(TicketError, match="SW-T206"):
        gate.invite(uses=1, lasts=HOUR, now=NOW)
    assert gate.book.invitations(NOW) == ()


def test_no_secret_of_a_ticket_is_kept(gate: Gate) -> None:
    ticket = invite(gate)
    for path in gate.book.path.parent.iterdir():
        content = path.read_bytes()
        assert ticket.secret not in content
        assert ticket.secret.hex().encode() not in content


def test_the_file_is_its_owners_alone_and_never_overwritten(gate: Gate) -> None:
    path = gate.book.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="SW-T212") as refused:
        Book.create(path.parent, "run-8", "00")
    assert "nothing is ever overwritten" in str(refused.value)
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["authority.pem", BOOK_FILE]


def test_what_is_no_book_is_refused(gate: Gate, tmp_path: Path) -> None:
    path = gate.book.path

    def refused() -> str:
        with pytest.raises(IdentityError, match="SW-T212: this book of members cannot be used") as error:
            Gate.load(path.parent)
        return error.value.got

    path.chmod(0o604)
    assert refused() == "mode 0604: others may read it"
    path.chmod(0o600)
    Gate.load(path.parent)
    content = path.read_bytes()
    path.write_bytes(b"nothing like it" * 100)
    assert refused() == "file is not a database"
    path.unlink()
    assert refused() == "No such file or directory"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    path.chmod(0o600)
    assert refused() == "a database of something else"
    path.write_bytes(content)
    Gate.load(path.parent)
    Book.create(tmp_path, "run-7", "00").path.replace(path)
    assert refused() == "the book of another authority"
