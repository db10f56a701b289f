"""What came over the wire is not what it says it is."""

from __future__ import annotations

from shieldwall.core.errors import TransportError


def garbled(what: str, expected: str, got: str) -> TransportError:
    """The error SW-T107."""
    return TransportError(
        "SW-T107",
        "a message cannot be read",
        where=what,
        expected=expected,
        got=got,
        state="nothing of it was used",
        remedy="see that both ends run the same version of shieldwall; if they do, the peer lies or the link is broken",
    )
