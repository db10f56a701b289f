"""Who it is that answers at an address where a connection of the run's kind could not be made."""

from __future__ import annotations

import asyncio
import hashlib
import ssl

from cryptography import x509

from shieldwall.run.machines.doctor.finding import Finding, bad, good
from shieldwall.run.machines.doctor.reach import split_address
from shieldwall.transport.identity.reading import UNREADABLE, read_authority
from shieldwall.transport.identity.ticket import Ticket

_CHECK = "certificate"


async def check_certificate(address: str, ticket: Ticket, connect_s: float) -> Finding:
    """Whether TLS is spoken there, with a certificate that the ticket's authority has signed.

    Nothing is sent but the handshake, and nothing is shown of this machine.
    """
    try:
        shown = await _shown_certificate(address, connect_s)
    except (OSError, TimeoutError, EOFError) as error:
        why = getattr(error, "reason", None) or str(error) or f"no answer within {connect_s:g} s"
        remedy = "see that the port is the run's own and no proxy stands before it: the run's TLS must pass as it is"
        return bad(_CHECK, f"no TLS there: {str(why)[:120]}", remedy, address)
    if is_signed_by(shown, ticket.authority):
        return good(_CHECK, f"of the run's own authority {ticket.fingerprint[:16]}", address)
    saw = (
        f"a foreign certificate {hashlib.sha256(shown).hexdigest()[:16]},"
        f" not signed by the run's authority {ticket.fingerprint[:16]}"
    )
    remedy = "ask whoever owns the run for a ticket of this very run: it was begun anew, or somebody stands in between"
    return bad(_CHECK, saw, remedy, address)


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether a certificate was signed by an authority, both given by their exact bytes (DER)."""
    try:
        x509.load_der_x509_certificate(certificate).verify_directly_issued_by(read_authority(authority))
    except UNREADABLE:
        return False
    return True


async def _shown_certificate(address: str, connect_s: float) -> bytes:
    """The certificate that is shown to whoever connects, unverified (DER).

    Raises:
        OSError, EOFError, TimeoutError: there is no TLS 1.3, or nobody.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, and trusted with nothing
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # before it, the server would want a certificate first
    context.set_alpn_protocols(["h2"])
    host, port = split_address(address)
    opening = asyncio.open_connection(host, port, ssl=context, ssl_handshake_timeout=connect_s)
    _, writer = await asyncio.wait_for(opening, 2 * connect_s)
    shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    if shown is None:
        raise EOFError("no certificate was shown")
    return shown
