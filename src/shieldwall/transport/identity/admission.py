"""The run's side of enrolment: what has to hold before anybody gets a certificate.

    form and size -> for this run -> clocks agree -> both keys proven -> the book: invitation, ban, name -> certificate

Nothing is written before the book, and the book writes all or nothing; a request that is refused costs no use.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from shieldwall.core.errors import EnrolmentError
from shieldwall.core.signing import Roster, Signed
from shieldwall.transport.identity.authority import Authority
from shieldwall.transport.identity.book import Book
from shieldwall.transport.identity.certificates import key_id
from shieldwall.transport.identity.clock import LARGEST_SKEW, in_words
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, Purpose, bad_request
from shieldwall.transport.identity.members import Invitation, Member, Newcomer
from shieldwall.transport.identity.reading import key_of_csr
from shieldwall.transport.identity.signing_keys import is_binding

CERTIFIED_FOR = timedelta(hours=1)
"""How long a worker's certificate lasts where nothing else is said; it is renewed well before."""


def admit(
    request: EnrolmentRequest,
    guest: Invitation,
    *,
    book: Book,
    authority: Authority,
    now: datetime,
    certified_for: timedelta = CERTIFIED_FOR,
) -> EnrolmentAnswer:
    """Make a guest a member.

    Args:
        request: from over a connection that `Book.peer` says is this guest's.
        guest: that invitation.
        book: of the run.
        authority: of the run.
        now: this machine's time.
        certified_for: how long the certificate lasts.

    Raises:
        TicketError: SW-T204, the invitation has expired; SW-T205, it is used up.
        EnrolmentError: SW-T221, the request is not what it should be; SW-T222, the clocks differ; SW-T223, the signing
            key is banned; SW-T224, the name cannot be had; SW-T225, the TLS key is somebody else's.
        StorageError: SW-S101; nobody was enrolled.
    """
    public = _check(request, Purpose.ENROLMENT, book, now)
    until = now + certified_for
    newcomer = Newcomer(
        signing_key=request.signing_key,
        tls_key=key_id(public),
        wish=request.statement.wish,
        certified_until=until,
    )
    member = book.enrol(guest.id, newcomer, now)
    return _answer(authority, member.name, public, now, until)


def renew(
    request: EnrolmentRequest,
    member: Member,
    *,
    book: Book,
    authority: Authority,
    now: datetime,
    certified_for: timedelta = CERTIFIED_FOR,
) -> EnrolmentAnswer:
    """Give a member its next certificate, for the same TLS key or a new one.

    Args:
        request: from over a connection that `Book.peer` says is this member's; its wish is not looked at.
        member: that member.
        book: of the run.
        authority: of the run.
        now: this machine's time.
        certified_for: how long the certificate lasts.

    Raises:
        EnrolmentError: SW-T221, the request is not what it should be, or signed by another than the member; SW-T222,
            the clocks differ; SW-T223, the member is banned; SW-T225, the TLS key is somebody else's; SW-T228, the
            member has left.
        StorageError: SW-S101; the certificate is not issued.
    """
    public = _check(request, Purpose.RENEWAL, book, now)
    if request.signing_key != member.signing_key:
        raise bad_request(f'a request signed by "{member.name}"', "one signed with another key")
    until = now + certified_for
    book.renew(member.name, key_id(public), until)
    return _answer(authority, member.name, public, now, until)


def _answer(
    authority: Authority, name: str, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> EnrolmentAnswer:
    return EnrolmentAnswer(name=name, chain_pem=authority.issue_worker(name, public, now, until), expires=until)


def _check(request: EnrolmentRequest, purpose: Purpose, book: Book, now: datetime) -> ec.EllipticCurvePublicKey:
    statement = request.statement
    if statement.purpose is not purpose:
        raise bad_request(f"a request for {purpose}", f"one for {statement.purpose}")
    if (statement.run, statement.authority) != (book.run, book.authority):
        raise bad_request(f"a request to run {book.run!r}", "one to another run")
    _check_clock(statement.time, now)
    if not is_binding(request.signing_key):
        raise bad_request("an Ed25519 public key whose signatures bind", "another one")
    signed = Signed(statement, "joiner", request.signature)
    if not Roster({"joiner": request.signing_key}).holds(signed):
        raise bad_request("a request signed with the key in it", "a signature that does not hold")
    try:
        return key_of_csr(statement.csr)
    except ValueError as error:
        raise bad_request("a certificate request signed by its own P-256 key", str(error)) from error


def _check_clock(theirs: datetime, ours: datetime) -> None:
    apart = abs(theirs - ours)
    if apart <= LARGEST_SKEW:
        return
    direction = "ahead of" if theirs > ours else "behind"
    raise EnrolmentError(
        "SW-T222",
        f"the joining machine's clock is {apart // timedelta(minutes=1)} minutes {direction} the run's",
        expected=f"at most {LARGEST_SKEW // timedelta(minutes=1)} minutes between them",
        got=f"{in_words(theirs)} on the machine that joins, {in_words(ours)} on the run's",
        remedy="set the clock that is wrong, for example with timedatectl set-ntp true, then join again",
    )
