"""Tickets: all that a machine needs to find a run, to know that it is the right one, and to be let in.

A ticket is one line, `sw1.` and base64url. Who has it can join, so it is handed over like a password; `repr` shows no
secret, and no message shows a ticket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from shieldwall.core.errors import TicketError
from shieldwall.transport.identity.certificates import Credential, fingerprint, pem
from shieldwall.transport.identity.clock import from_seconds, to_seconds
from shieldwall.transport.identity.guest import guest_credential
from shieldwall.transport.identity.reading import read_authority
from shieldwall.transport.identity.refusals import expired
from shieldwall.transport.identity.ticket_form import pack, unpack

SECRET_BYTES = 16
MOST_USES = 10_000
_MOST_ADDRESSES = 16
_LONGEST_RUN_NAME = 255
_LONGEST_AUTHORITY_BYTES = 1024

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[1-9][0-9]{0,4})")
_NOBODYS = {"0.0.0.0", "[::]"}  # noqa: S104 (refused, not listened on)


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """An invitation to one run.

    Raises:
        TicketError: SW-T206; something in it cannot be used.
    """

    addresses: tuple[str, ...]
    """Where the run may be reached, each HOST:PORT (an IPv6 host in brackets), to be tried in this order."""
    run: str
    authority: bytes = field(repr=False)
    """The certificate of the run's authority (DER): nobody else is taken for the run."""
    secret: bytes = field(repr=False)
    """Drawn for this ticket, `SECRET_BYTES`; the guests' key is derived from it."""
    expires: datetime
    """In UTC, to the second."""
    uses: int
    """How many machines can join with it."""

    def __post_init__(self) -> None:
        for address in self.addresses:
            check_address(address)
        if not 1 <= len(self.addresses) <= _MOST_ADDRESSES:
            raise _cannot_say(f"1 to {_MOST_ADDRESSES} addresses", f"{len(self.addresses)}")
        if not self.run.isprintable() or not 1 <= len(self.run.encode("utf-8", "replace")) <= _LONGEST_RUN_NAME:
            raise _cannot_say(
                f"a run's name of 1 to {_LONGEST_RUN_NAME} bytes that can be printed", repr(self.run[:40])
            )
        if len(self.secret) != SECRET_BYTES:
            raise _cannot_say(f"a secret of {SECRET_BYTES} bytes", f"{len(self.secret)} bytes")
        if not 1 <= self.uses <= MOST_USES:
            raise _cannot_say(f"1 to {MOST_USES:,} uses", f"{self.uses}")
        if self.expires.tzinfo is None or self.expires.microsecond or to_seconds(self.expires) < 0:
            raise _cannot_say("an end in UTC, to the second", str(self.expires))
        if len(self.authority) > _LONGEST_AUTHORITY_BYTES:
            raise _cannot_say(f"a certificate of at most {_LONGEST_AUTHORITY_BYTES} bytes", f"{len(self.authority):,}")
        try:
            read_authority(self.authority)
        except ValueError as error:
            raise _cannot_say("the certificate of the run's authority", str(error)) from error

    @property
    def fingerprint(self) -> str:
        """What people compare: SHA-256 of the certificate of the run's authority, in hexadecimal."""
        return fingerprint(read_authority(self.authority))

    @property
    def authority_pem(self) -> bytes:
        """The one root that whoever joins trusts."""
        return pem(read_authority(self.authority))

    @property
    def guest(self) -> Credential:
        """What a joiner shows to be let in to ask."""
        return guest_credential(self.secret, self.fingerprint)

    def text(self) -> str:
        """The line that is handed over; `read_ticket` is its inverse."""
        names = (self.run.encode(), self.authority, *(address.encode() for address in self.addresses))
        return pack(to_seconds(self.expires), self.uses, self.secret, names)

    def check_time(self, now: datetime) -> None:
        """Whether it is still good, by this machine's clock; the run decides by its own.

        Raises:
            TicketError: SW-T204; it has expired.
        """
        if now >= self.expires:
            raise expired(self.expires, now, "this machine")


def read_ticket(text: str) -> Ticket:
    """The ticket that a line stands for, expired or not; blanks around it do not matter.

    Raises:
        TicketError: SW-T201, it is no ticket; SW-T202, it is cut short or mistyped; SW-T203, it is of a later version;
            SW-T206, something in it cannot be used.
    """
    seconds, uses, secret, names = unpack(text)
    try:
        expires = from_seconds(seconds)
        run, authority, addresses = names[0].decode(), names[1], tuple(name.decode() for name in names[2:])
    except (ValueError, OverflowError, IndexError, OSError) as error:
        raise _cannot_say("a date, a run's name, a certificate and addresses", "something else") from error
    return Ticket(addresses=addresses, run=run, authority=authority, secret=secret, expires=expires, uses=uses)


def check_address(address: str) -> None:
    """Whether others can be told to connect to `address`.

    Raises:
        TicketError: SW-T206; it is not HOST:PORT, or a host that stands for all of a machine's own addresses.
    """
    found = _ADDRESS.fullmatch(address)
    if not found or int(found["port"]) > 65535 or found["host"] in _NOBODYS:
        raise _cannot_say("HOST:PORT, where others can reach it, such as 192.0.2.7:4433", repr(address[:80]))


def _cannot_say(expected: str, got: str) -> TicketError:
    return TicketError(
        "SW-T206",
        "a ticket cannot hold this",
        expected=expected,
        got=got,
        remedy="make the ticket again with what is expected: shieldwall invite RUN",
    )
