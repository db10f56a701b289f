"""Why somebody is not let in: the errors of the book, in one place, so that each reason has one wording."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shieldwall.core.errors import EnrolmentError, IdentityError, TicketError
from shieldwall.transport.identity.clock import in_words
from shieldwall.transport.identity.members import Invitation, Member, State


def expired(expires: datetime, now: datetime, whose: str) -> TicketError:
    """A ticket whose time is over by the clock of `whose` machine."""
    return TicketError(
        "SW-T204",
        "the ticket has expired",
        expected=f"a ticket that is used before {in_words(expires)}",
        got=f"it is {in_words(now)} by the clock of {whose}",
        remedy="if that clock is wrong, set it; else ask for a new ticket: shieldwall invite RUN",
    )


def used_up(invitation: Invitation) -> TicketError:
    """A ticket with which as many have come as it was for."""
    return TicketError(
        "SW-T205",
        "the ticket is used up",
        expected=f"one of the first {invitation.uses} to join with it",
        got=f"{invitation.used} joined before",
        remedy="ask for a new ticket: shieldwall invite RUN --uses N",
    )


def check_present(member: Member) -> None:
    """Whether a member may take part.

    Raises:
        EnrolmentError: SW-T223, it is banned; SW-T228, it has left.
    """
    if member.state is State.BANNED:
        raise banned(member)
    if member.state is State.LEFT:
        raise EnrolmentError(
            "SW-T228",
            f'"{member.name}" has left the run',
            expected="an active member",
            got=f"left at {in_words(member.since)}: {member.why}",
            remedy="join again with a ticket: shieldwall join TICKET",
        )


def banned(member: Member) -> EnrolmentError:
    """A signing key that the run will not have."""
    return EnrolmentError(
        "SW-T223",
        f'"{member.name}" is banned from the run',
        expected="a key that is not banned",
        got=f"banned at {in_words(member.since)}: {member.why}",
        remedy="talk to whoever owns the run, who can lift it: shieldwall unban RUN NAME",
    )


def unknown_key(key: str) -> EnrolmentError:
    """A certificate that is neither a guest's nor a member's."""
    return EnrolmentError(
        "SW-T226",
        "nobody in the run's book has this key",
        expected="the key of a ticket's guest or of a member",
        got=f"key {key[:16]}",
        remedy="join with a ticket: shieldwall join TICKET",
    )


def certificate_ended(name: str, until: datetime, now: datetime) -> EnrolmentError:
    """A member whose certificate has run out, by the book, whatever dates the certificate bears."""
    return EnrolmentError(
        "SW-T227",
        f'the certificate of "{name}" has ended',
        expected=f"a call before {in_words(until)}, or a renewal before then",
        got=f"it is {in_words(now)} by the clock of the run",
        remedy="join again with a ticket: shieldwall join TICKET",
    )


def key_of_another(key: str) -> EnrolmentError:
    """A TLS key that is a guest's, or another member's."""
    return EnrolmentError(
        "SW-T225",
        "this TLS key belongs to somebody else",
        expected="a TLS key of the joiner's own, in no other hands",
        got=f"key {key[:16]}, which is a guest's or another member's",
        remedy="start with a fresh folder: shieldwall join TICKET --home DIR",
    )


def no_such_member(name: str, names: Sequence[str]) -> IdentityError:
    """A name that is in no row of the book."""
    return IdentityError(
        "SW-T214",
        f'no member is called "{name}"',
        expected=f"one of: {', '.join(names) or 'nobody has joined yet'}",
        got=name,
        remedy="see who there is: shieldwall workers RUN",
    )
