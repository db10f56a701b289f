"""How a ticket is written: `sw`, the version of the form, a dot, and base64url of its fields with a checksum.

    u64 seconds of its end | u16 uses | u8 length and secret | (u16 length and name) ... | 8 bytes of SHA-256

Numbers are big-endian. The checksum covers all before it, the version included, so that a line that was cut short or
mistyped is told from one that is good but wrong. Each ticket has exactly one line.
"""

from __future__ import annotations

import hashlib
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from shieldwall.core.errors import TicketError

VERSION = 1
LONGEST_TEXT = 8192
_CHECKSUM_BYTES = 8

_HEAD = struct.Struct(">QHB")
_LENGTH = struct.Struct(">H")
_TEXT = re.compile(r"sw([1-9][0-9]{0,3})\.(.*)", re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")


def pack(seconds: int, uses: int, secret: bytes, names: Sequence[bytes]) -> str:
    """The line for these fields; their lengths must fit, as those of a `Ticket` do."""
    content = _HEAD.pack(seconds, uses, len(secret)) + secret
    content += b"".join(_LENGTH.pack(len(name)) + name for name in names)
    return f"sw{VERSION}." + _encoded(content + _checksum(content))


def unpack(text: str) -> tuple[int, int, bytes, list[bytes]]:
    """The fields of a line: seconds of its end, uses, secret, names.

    Raises:
        TicketError: SW-T201, it is no ticket; SW-T202, it is cut short or mistyped; SW-T203, it is of a later version.
    """
    text = text.strip()
    found = _TEXT.fullmatch(text)
    if not found:
        raise TicketError(
            "SW-T201",
            "this is no ticket",
            expected=f"one line that begins with sw{VERSION}.",
            got=f"{len(text):,} characters that begin otherwise",
            remedy="give the last line that shieldwall invite RUN printed",
        )
    if found[1] != str(VERSION):
        raise TicketError(
            "SW-T203",
            "this ticket is of a later version",
            expected=f"a ticket of version {VERSION} (sw{VERSION}.)",
            got=f"version {found[1]}",
            remedy="install the version of shieldwall that the run has: pip install -U shieldwall",
        )
    content = _decoded(found[2])
    body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if checksum != _checksum(body):
        raise _damaged(f"{len(text):,} characters whose checksum does not fit")
    try:
        return _fields(body)
    except (struct.error, ValueError) as error:
        raise _damaged("fields that do not fit into each other") from error


def _fields(body: bytes) -> tuple[int, int, bytes, list[bytes]]:
    seconds, uses, length = _HEAD.unpack_from(body)
    secret, at = _cut(body, _HEAD.size, length)
    names: list[bytes] = []
    while at < len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        name, at = _cut(body, at + _LENGTH.size, length)
        names.append(name)
    return seconds, uses, secret, names


def _cut(body: bytes, start: int, length: int) -> tuple[bytes, int]:
    end = start + length
    if end > len(body):
        raise ValueError("a field ends after the last byte")
    return body[start:end], end


def _decoded(text: str) -> bytes:
    if len(text) > LONGEST_TEXT:
        raise _damaged(f"{len(text):,} characters, more than any ticket has")
    if not _BASE64.fullmatch(text):
        raise _damaged("characters that no ticket has")
    if len(text) % 4 == 1:
        raise _damaged(f"{len(text):,} characters, which no ticket has")
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(content) != text:  # bits of the last character that mean nothing
        raise _damaged("another last character than a ticket has")
    return content


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(b"shieldwall/1|ticket|%d|" % VERSION + content).digest()[:_CHECKSUM_BYTES]


def _damaged(got: str) -> TicketError:
    return TicketError(
        "SW-T202",
        "the ticket is cut short or mistyped",
        expected="the whole line as it was printed",
        got=got,
        remedy="copy the whole line again, from `sw` to its end; it is one line without blanks",
    )
