"""The book of members: whom the run has invited, who has come, and whom it will not have.

It is the only place that says who a peer is, and it goes by the public key of the certificate that the peer shows:

    a guest's key   -> the invitation; may ask to be enrolled, and nothing else
    a member's key  -> the member, while it is active and the certificate issued for that key has not ended
    any other key   -> nobody

A name in a certificate says nothing: whoever holds a ticket can sign one with any name in it (`guest.py`).
One signing key is one member. A ticket that was given out for several uses is good for new keys of somebody who was
banned, too; who minds gives out tickets for one use each.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from shieldwall.transport.identity.book_file import BOOK_FILE, check_book_file, create_book_file, reading, writing
from shieldwall.transport.identity.clock import from_seconds, to_seconds
from shieldwall.transport.identity.members import Invitation, Member, Newcomer, State, choose_name
from shieldwall.transport.identity.refusals import (
    banned,
    certificate_ended,
    check_present,
    expired,
    key_of_another,
    no_such_member,
    unknown_key,
    used_up,
)

REMEMBERED = timedelta(days=1)
"""Guests with a ticket that has expired are let in to be told so for this long; then they fail in the handshake."""

_INVITATION = (
    "SELECT id, root, expires_s, uses, (SELECT count(*) FROM redemptions WHERE invitation = id) FROM invitations"
)
_MEMBER = (
    "SELECT name, signing_key, state, since_s, why, (SELECT max(expires_s) FROM tls_keys WHERE member = name)"
    " FROM members"
)


class Book:
    """The book of one run. Made by `create` or `open`; may be used from any thread.

    Args:
        path: of its file.
        run: the run's name.
        authority: fingerprint of its authority.
    """

    def __init__(self, path: Path, run: str, authority: str) -> None:
        self.path = path
        self.run = run
        self.authority = authority

    @classmethod
    def create(cls, private: Path, run: str, authority: str) -> Book:
        """A new book in the run's private folder.

        Raises:
            IdentityError: SW-T212; there is one already.
            StorageError: SW-S101.
        """
        path = private / BOOK_FILE
        create_book_file(path, run, authority)
        return cls(path, run, authority)

    @classmethod
    def open(cls, private: Path) -> Book:
        """The book of a run that is there.

        Raises:
            IdentityError: SW-T212; there is none, or others may read it, or it is something else.
        """
        path = private / BOOK_FILE
        check_book_file(path)
        with reading(path) as connection:
            run, authority = connection.execute("SELECT name, authority FROM run").fetchone()
        return cls(path, run, authority)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the run listens, as it said last: what goes into tickets."""
        with reading(self.path) as connection:
            return tuple(json.loads(connection.execute("SELECT addresses FROM run").fetchone()[0]))

    def set_addresses(self, addresses: Sequence[str]) -> None:
        """Write down where the run listens, so that `invite` beside it can tell."""
        with writing(self.path) as connection:
            connection.execute("UPDATE run SET addresses = ?", (json.dumps(list(addresses)),))

    def add(self, invitation: Invitation) -> None:
        """Let those in who hold the ticket.

        Raises:
            StorageError: SW-S101; nobody is invited.
        """
        row = (invitation.id, invitation.root_der, to_seconds(invitation.expires), invitation.uses)
        with writing(self.path) as connection:
            connection.execute("INSERT INTO invitations VALUES (?, ?, ?, ?)", row)

    def invitations(self, now: datetime) -> tuple[Invitation, ...]:
        """Those whose guests are let in to ask: all that are open, and for a while those that have ended.

        Who comes with a ticket that has ended is then told why; a handshake could only fail.
        """
        since = to_seconds(now - REMEMBERED)
        with reading(self.path) as connection:
            rows = connection.execute(f"{_INVITATION} WHERE expires_s > ? ORDER BY expires_s, id", (since,)).fetchall()
        return tuple(map(_invitation, rows))

    def members(self) -> tuple[Member, ...]:
        """All that were ever enrolled, by name."""
        with reading(self.path) as connection:
            return tuple(map(_member, connection.execute(f"{_MEMBER} ORDER BY name").fetchall()))

    def peer(self, key: str, now: datetime) -> Invitation | Member:
        """Who shows a certificate with this public key.

        To be asked at each call, not at each connection: somebody may be banned in between.

        Args:
            key: `key_id` of the certificate's key.
            now: this machine's time.

        Raises:
            EnrolmentError: SW-T223, banned; SW-T226, nobody has this key; SW-T227, the certificate has ended; SW-T228,
                the member has left.
        """
        with reading(self.path) as connection:
            invited = connection.execute(f"{_INVITATION} WHERE id = ?", (key,)).fetchone()
            if invited:
                return _invitation(invited)
            known = connection.execute("SELECT member, expires_s FROM tls_keys WHERE id = ?", (key,)).fetchone()
            if not known:
                raise unknown_key(key)
            member = _member_called(connection, known[0])
        check_present(member)
        if to_seconds(now) >= known[1]:
            raise certificate_ended(member.name, from_seconds(known[1]), now)
        return member

    def enrol(self, invitation: str, newcomer: Newcomer, now: datetime) -> Member:
        """Write a newcomer down as a member and take one use of the invitation, both or neither.

        A signing key that is known gets the name that it has, whatever it wishes. Who came with this very invitation
        before takes no second use: the answer may have been lost on the way.

        Args:
            invitation: whose guest it is.
            newcomer: both of its keys are proven.
            now: this machine's time.

        Raises:
            TicketError: SW-T204, the invitation has expired; SW-T205, it is used up.
            EnrolmentError: SW-T223, the key is banned; SW-T224, the name cannot be had; SW-T225, the TLS key is
                somebody else's; SW-T226, there is no such invitation.
            StorageError: SW-S101; nobody was enrolled.
        """
        with writing(self.path) as connection:
            found = connection.execute(f"{_INVITATION} WHERE id = ?", (invitation,)).fetchone()
            if not found:
                raise unknown_key(invitation)
            known = connection.execute(f"{_MEMBER} WHERE signing_key = ?", (newcomer.signing_key,)).fetchone()
            name = known[0] if known else ""
            if known and _member(known).state is State.BANNED:
                raise banned(_member(known))
            _take_use(connection, _invitation(found), name, now)
            if not known:
                name = _add_member(connection, newcomer, now)
            elif _member(known).state is State.LEFT:
                _set_state(connection, name, State.ACTIVE, "came back", now)
            connection.execute("INSERT OR IGNORE INTO redemptions VALUES (?, ?)", (invitation, name))
            _certify(connection, name, newcomer.tls_key, newcomer.certified_until)
            return _member_called(connection, name)

    def renew(self, name: str, tls_key: str, certified_until: datetime) -> Member:
        """Write down a certificate that a member gets for one that is about to end.

        Raises:
            EnrolmentError: SW-T223, banned; SW-T225, the TLS key is somebody else's; SW-T228, it has left.
            IdentityError: SW-T214; nobody is called that.
            StorageError: SW-S101; the certificate is not to be issued.
        """
        with writing(self.path) as connection:
            check_present(_member_called(connection, name))
            _certify(connection, name, tls_key, certified_until)
            return _member_called(connection, name)

    def ban(self, name: str, why: str, now: datetime) -> Member:
        """Have nothing more to do with a member's signing key; takes effect at the next `peer`.

        Raises:
            IdentityError: SW-T214; nobody is called that.
        """
        return self._move(name, State.BANNED, why, now)

    def unban(self, name: str, now: datetime) -> Member:
        """Let a member be as if it had never been banned; where its certificate has ended it needs a ticket.

        Raises:
            IdentityError: SW-T214; nobody is called that.
        """
        return self._move(name, State.ACTIVE, "unbanned", now, only=State.BANNED)

    def leave(self, name: str, why: str, now: datetime) -> Member:
        """Write down that a member took its leave; it comes back with a ticket. Who is banned stays banned.

        Raises:
            IdentityError: SW-T214; nobody is called that.
        """
        return self._move(name, State.LEFT, why, now, only=State.ACTIVE)

    def _move(self, name: str, state: State, why: str, now: datetime, only: State | None = None) -> Member:
        with writing(self.path) as connection:
            before = _member_called(connection, name).state
            if before is not state and only in (None, before):
                _set_state(connection, name, state, why, now)
            return _member_called(connection, name)


def _take_use(connection: sqlite3.Connection, invitation: Invitation, name: str, now: datetime) -> None:
    if now >= invitation.expires:
        raise expired(invitation.expires, now, "the run")
    query = "SELECT 1 FROM redemptions WHERE invitation = ? AND member = ?"
    if invitation.used >= invitation.uses and not connection.execute(query, (invitation.id, name)).fetchone():
        raise used_up(invitation)


def _add_member(connection: sqlite3.Connection, newcomer: Newcomer, now: datetime) -> str:
    taken = {row[0] for row in connection.execute("SELECT name FROM members")}
    name = choose_name(newcomer.wish, taken)
    row = (name, newcomer.signing_key, State.ACTIVE.value, to_seconds(now), "enrolled")
    connection.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?)", row)
    return name


def _certify(connection: sqlite3.Connection, name: str, key: str, until: datetime) -> None:
    """A TLS key is one peer's: who could show a guest's or another's would be two at once."""
    taken = connection.execute(
        "SELECT 1 FROM invitations WHERE id = ?1 UNION SELECT 1 FROM tls_keys WHERE id = ?1 AND member != ?2",
        (key, name),
    )
    if taken.fetchone():
        raise key_of_another(key)
    connection.execute("INSERT OR REPLACE INTO tls_keys VALUES (?, ?, ?)", (key, name, to_seconds(until)))


def _set_state(connection: sqlite3.Connection, name: str, state: State, why: str, now: datetime) -> None:
    row = (state.value, to_seconds(now), why, name)
    connection.execute("UPDATE members SET state = ?, since_s = ?, why = ? WHERE name = ?", row)


def _member_called(connection: sqlite3.Connection, name: str) -> Member:
    found = connection.execute(f"{_MEMBER} WHERE name = ?", (name,)).fetchone()
    if not found:
        rows = connection.execute("SELECT name FROM members ORDER BY name")
        raise no_such_member(name, [row[0] for row in rows])
    return _member(found)


def _invitation(row: tuple[str, bytes, int, int, int]) -> Invitation:
    return Invitation(id=row[0], root_der=row[1], expires=from_seconds(row[2]), uses=row[3], used=row[4])


def _member(row: tuple[str, bytes, str, int, str, int | None]) -> Member:
    name, signing_key, state, since_s, why, until_s = row
    return Member(
        name=name,
        signing_key=signing_key,
        state=State(state),
        since=from_seconds(since_s),
        why=why,
        certified_until=None if until_s is None else from_seconds(until_s),
    )
