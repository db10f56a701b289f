"""A refusal on its way to whoever is refused, so that the reason is told there in the same words."""

from __future__ import annotations

import json

from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.errors import EnrolmentError, ShieldwallError, TicketError
from shieldwall.transport.identity.enrolment import LONGEST_BYTES, bad_answer

_PARTS = ("code", "summary", "expected", "got", "where", "remedy", "state")
_LONGEST_PART = 1000
_TICKETS = {"SW-T204", "SW-T205"}
_ENROLMENTS = {*(f"SW-T22{digit}" for digit in range(1, 9)), "SW-T230", "SW-T231"}


def refusal_bytes(error: TicketError | EnrolmentError) -> bytes:
    """The one form in which a refusal travels."""
    return canonical_bytes({part: getattr(error, part)[:_LONGEST_PART] for part in _PARTS})


def read_refusal(content: bytes, peer: str = "") -> ShieldwallError:
    """The error that the run refused with, to be raised.

    Args:
        content: as `refusal_bytes` made it.
        peer: HOST:PORT that refused, for errors that do not say where.

    Returns:
        A `TicketError` or an `EnrolmentError` as `refusal_bytes` had it; an `EnrolmentError` SW-T229 where these are
        no such bytes.
    """
    try:
        if len(content) > LONGEST_BYTES:
            raise ValueError(f"{len(content):,} bytes")
        parts = json.loads(content)
        if not isinstance(parts, dict) or set(parts) != set(_PARTS):
            raise ValueError("something else")
        if not all(isinstance(text, str) and _is_plain(text) for text in parts.values()):
            raise ValueError("something that cannot be shown")
    except (ValueError, RecursionError) as error:
        return bad_answer("a refusal in the form of this version", str(error))
    code, summary = parts.pop("code"), parts.pop("summary")
    parts["where"] = parts["where"] or peer
    if code in _TICKETS:
        return TicketError(code, summary, **parts)
    if code in _ENROLMENTS:
        return EnrolmentError(code, summary, **parts)
    return bad_answer("a refusal with a code of this version", "another code")


def _is_plain(text: str) -> bool:
    """Nothing that moves a terminal's cursor or changes its colours."""
    return len(text) <= _LONGEST_PART and all(each.isprintable() or each == "\n" for each in text)
