"""The gate of a run: its authority and its book together, as the server of the run and `shieldwall invite` need them.

gate = Gate.create(private, run)           at the run's start;  Gate.load(private) when it goes on, or beside it
gate.book.set_addresses([...])             once the port is known
grpc.dynamic_ssl_server_credentials(...)   with gate.server and, asked anew at each handshake, gate.roots(now)
gate.peer(certificate, now)                at each call: an Invitation, who may enrol alone, or a Member
gate.admit(...), gate.renew(...)           what the two of them may ask
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509

from shieldwall.transport.identity.admission import CERTIFIED_FOR, admit, renew
from shieldwall.transport.identity.authority import AUTHORITY_FILE, Authority
from shieldwall.transport.identity.book import Book
from shieldwall.transport.identity.book_file import BOOK_FILE, unusable_book
from shieldwall.transport.identity.certificates import Credential, der, key_id, pem
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, bad_request
from shieldwall.transport.identity.guest import guest_key, guest_root
from shieldwall.transport.identity.members import Invitation, Member
from shieldwall.transport.identity.reading import key_id_of_certificate
from shieldwall.transport.identity.refusals import unknown_key
from shieldwall.transport.identity.ticket import SECRET_BYTES, Ticket


class Gate:
    """Who may come into one run. Made by `create` or `load`; may be used from any thread.

    Args:
        authority: of the run.
        book: of the same run.
        certified_for: how long the certificates of workers last.
    """

    def __init__(self, authority: Authority, book: Book, certified_for: timedelta = CERTIFIED_FOR) -> None:
        self.authority = authority
        self.book = book
        self._certified_for = certified_for

    @classmethod
    def create(cls, private: Path, run: str, certified_for: timedelta = CERTIFIED_FOR) -> Gate:
        """A new run's gate, in the run's private folder (mode 0700, made by the caller).

        Raises:
            IdentityError: SW-T211 or SW-T212; there is one already.
            StorageError: SW-S101.
        """
        authority = Authority.create(private)
        return cls(authority, Book.create(private, run, authority.fingerprint), certified_for)

    @staticmethod
    def exists(private: Path) -> bool:
        """Whether a run's gate was made in this folder."""
        return (private / AUTHORITY_FILE).exists() and (private / BOOK_FILE).exists()

    @classmethod
    def load(cls, private: Path, certified_for: timedelta = CERTIFIED_FOR) -> Gate:
        """The gate of a run that goes on, or beside which something is done.

        Raises:
            IdentityError: SW-T211, the authority's file cannot be used; SW-T212, the book cannot, or is of another
                run.
        """
        authority, book = Authority.load(private), Book.open(private)
        if book.authority != authority.fingerprint:
            raise unusable_book(book.path, "a book of the authority beside it", "the book of another authority")
        return cls(authority, book, certified_for)

    @cached_property
    def server(self) -> Credential:
        """What this process shows as the run's server; drawn at the first use and kept in memory alone."""
        return self.authority.issue_server()

    def roots(self, now: datetime) -> bytes:
        """Whose certificates are let through the handshake, as text (PEM): the authority's and those of guests.

        To be asked at each handshake, since other processes invite.
        """
        guests = (x509.load_der_x509_certificate(each.root_der) for each in self.book.invitations(now))
        return self.authority.certificate_pem + pem(*guests)

    def peer(self, certificate_pem: bytes, now: datetime) -> Invitation | Member:
        """Who has shown this certificate (PEM) over a connection of TLS: by its public key, whatever else is in it.

        To be asked at each call: somebody may be banned while connected.

        Raises:
            EnrolmentError: SW-T223, banned; SW-T226, nobody; SW-T227, the certificate has ended; SW-T228, has left.
        """
        try:
            key = key_id_of_certificate(certificate_pem)
        except ValueError as error:
            raise unknown_key("unreadable") from error
        return self.book.peer(key, now)

    def admit(self, request: EnrolmentRequest, peer: Invitation | Member, now: datetime) -> EnrolmentAnswer:
        """Make a guest a member: `admission.admit`, which names the errors.

        A member that asks to be enrolled is refused with SW-T221: it has shown no ticket.
        """
        if not isinstance(peer, Invitation):
            raise bad_request("a request over a connection with a ticket", f'one over a connection of "{peer.name}"')
        return admit(
            request, peer, book=self.book, authority=self.authority, now=now, certified_for=self._certified_for
        )

    def renew(self, request: EnrolmentRequest, peer: Invitation | Member, now: datetime) -> EnrolmentAnswer:
        """Give a member its next certificate: `admission.renew`, which names the errors.

        A guest that asks for a renewal is refused with SW-T221: it is no member yet.
        """
        if not isinstance(peer, Member):
            raise bad_request("a request over a connection of a member", "one over a connection with a ticket")
        return renew(
            request, peer, book=self.book, authority=self.authority, now=now, certified_for=self._certified_for
        )

    def invite(self, *, uses: int, lasts: timedelta, now: datetime, addresses: Sequence[str] = ()) -> Ticket:
        """Make a ticket and let in who holds it.

        Args:
            uses: how many machines can join with it.
            lasts: for how long.
            now: this machine's time.
            addresses: where they reach the run, HOST:PORT; those in the book where none are given.

        Raises:
            TicketError: SW-T206; that is no ticket, such as one without an address. Nobody is invited.
            StorageError: SW-S101; nobody is invited.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        ticket = Ticket(
            addresses=tuple(addresses) or self.book.addresses,
            run=self.book.run,
            authority=der(self.authority.certificate),
            secret=secret,
            expires=now + lasts,
            uses=uses,
        )
        key = guest_key(secret, self.authority.fingerprint)
        invitation = Invitation(
            id=key_id(key.public_key()), root_der=der(guest_root(key)), expires=ticket.expires, uses=uses
        )
        self.book.add(invitation)
        return ticket
