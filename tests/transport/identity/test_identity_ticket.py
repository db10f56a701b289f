"""Tickets: what is written is what is read, and nothing else is a ticket."""

from __future__ import annotations

import hashlib
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gates import ADDRESS, HOUR, NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.core.errors import TicketError
from shieldwall.transport.identity.certificates import CLIENT, authority_certificate, der, leaf_certificate, new_key
from shieldwall.transport.identity.ticket import Ticket, read_ticket

KEY = new_key()
AUTHORITY = authority_certificate("shieldwall authority", KEY)
TICKET = Ticket(
    addresses=(ADDRESS, "[::1]:4433"),
    run="run-7",
    authority=der(AUTHORITY),
    secret=bytes(range(16)),
    expires=NOW + HOUR,
    uses=3,
)
TEXT = TICKET.text()

hosts = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?", fullmatch=True) | st.just("[2001:db8::7]")
addresses = st.builds("{}:{}".format, hosts, st.integers(1, 65535)).filter(lambda each: not each.startswith("0.0.0.0:"))
runs = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(str.isprintable)
ends = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
tickets = st.builds(
    Ticket,
    addresses=st.lists(addresses, min_size=1, max_size=16).map(tuple),
    run=runs,
    authority=st.just(TICKET.authority),
    secret=st.binary(min_size=16, max_size=16),
    expires=ends.map(lambda end: end.replace(microsecond=0)),
    uses=st.integers(1, 10_000),
)


@given(ticket=tickets)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_ticket_is_read_as_it_was_written(ticket: Ticket) -> None:
    text = ticket.text()
    assert text.isascii()
    assert len(text.split()) == 1
    assert read_ticket(f"  {text}\n") == ticket


@given(data=st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_ticket_with_one_character_changed_cut_or_added_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda each: each != TEXT[at]))
    with pytest.raises(TicketError, match=r"SW-T20[123]: "):
        read_ticket(TEXT[:at] + letter + TEXT[at + 1 :])
    with pytest.raises(TicketError, match=r"SW-T20[123]: "):
        read_ticket(TEXT[:at] + TEXT[at + 1 :])
    if letter.strip():  # blanks around a ticket do not matter
        with pytest.raises(TicketError, match=r"SW-T20[123]: "):
            read_ticket(TEXT[:at] + letter + TEXT[at:])


def test_a_ticket_that_is_cut_short_is_refused() -> None:
    for length in range(len(TEXT)):
        with pytest.raises(TicketError, match="SW-T202: " if length >= 4 else "SW-T201: "):
            read_ticket(TEXT[:length])


def test_the_last_character_has_one_form() -> None:
    """Story: base64 leaves bits of the last character over, and most decoders do not look at them."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    content = TEXT.removeprefix("sw1.")
    padding = "=" * (-len(content) % 4)
    twins = [
        each
        for each in letters
        if urlsafe_b64decode(content[:-1] + each + padding) == urlsafe_b64decode(content + padding)
    ]
    assert len(twins) == {0: 1, 1: 4, 2: 16}[len(padding)]
    for each in set(twins) - {content[-1]}:
        with pytest.raises(TicketError, match="SW-T202"):
            read_ticket(f"sw1.{content[:-1]}{each}")


@given(text=st.text(max_size=60) | st.from_regex(r"sw1\.[A-Za-z0-9_-]{0,80}", fullmatch=True))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_other_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(TicketError, match=r"SW-T20[123]: "):
        read_ticket(text)


def line(seconds: int, secret: bytes, *names: bytes, uses: int = 1) -> str:
    """A ticket's line, written from the description of the form alone."""
    content = struct.pack(">QHB", seconds, uses, len(secret)) + secret
    for name in names:
        content += struct.pack(">H", len(name)) + name
    content += hashlib.sha256(b"shieldwall/1|ticket|1|" + content).digest()[:8]
    return "sw1." + urlsafe_b64encode(content).decode().rstrip("=")


def test_the_form_is_the_one_that_is_described() -> None:
    """Tickets outlive the version that wrote them: a change of the form needs another number."""
    seconds = int((NOW + HOUR).timestamp())
    names = (b"run-7", TICKET.authority, b"127.0.0.1:4433", b"[::1]:4433")
    assert line(seconds, bytes(range(16)), *names, uses=3) == TEXT


def test_each_mistake_has_its_own_words() -> None:
    for text, code, words in (
        ("", "SW-T201", "begin otherwise"),
        ("-----BEGIN CERTIFICATE-----", "SW-T201", "one line that begins with sw1."),
        (f"sw2.{TEXT[4:]}", "SW-T203", "pip install -U shieldwall"),
        (TEXT[:-1], "SW-T202", "copy the whole line again"),
        (f"{TEXT[:50]}\n{TEXT[50:]}", "SW-T202", "characters that no ticket has"),
        (TEXT[:50] + ("B" if TEXT[50] == "A" else "A") + TEXT[51:], "SW-T202", "checksum"),
        (TEXT + "A" * 9000, "SW-T202", "more than any ticket has"),
    ):
        with pytest.raises(TicketError, match=code) as refused:
            read_ticket(text)
        assert words in str(refused.value)
        assert TICKET.text()[10:60] not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        line(2**63, bytes(16), b"run", TICKET.authority, ADDRESS.encode()),
        line(2**40, bytes(16), b"run", TICKET.authority, ADDRESS.encode()),
        line(1, bytes(15), b"run", TICKET.authority, ADDRESS.encode()),
        line(1, bytes(16), b"r\xff", TICKET.authority, ADDRESS.encode()),
        line(1, bytes(16), b"run", TICKET.authority),
        line(1, bytes(16), b"run"),
        line(1, bytes(16)),
        line(1, bytes(16), b"run", TICKET.authority[:-1], ADDRESS.encode()),
        line(1, bytes(16), b"run", TICKET.authority, ADDRESS.encode(), uses=0),
    ],
    ids=range(9),
)
def test_a_line_that_fits_its_checksum_but_says_nonsense_is_refused(text: str) -> None:
    with pytest.raises(TicketError, match="SW-T206"):
        read_ticket(text)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"addresses": ()}, "1 to 16 addresses"),
        ({"addresses": (ADDRESS,) * 17}, "1 to 16 addresses"),
        ({"addresses": ("127.0.0.1",)}, "HOST:PORT"),
        ({"addresses": ("127.0.0.1:0",)}, "HOST:PORT"),
        ({"addresses": ("127.0.0.1:65536",)}, "HOST:PORT"),
        ({"addresses": ("0.0.0.0:4433",)}, "where others can reach it"),
        ({"addresses": ("[::]:4433",)}, "where others can reach it"),
        ({"addresses": ("a b:4433",)}, "HOST:PORT"),
        ({"run": ""}, "a run's name"),
        ({"run": "a\x1b[2Jb"}, "that can be printed"),
        ({"run": "ä" * 128}, "1 to 255 bytes"),
        ({"secret": bytes(15)}, "a secret of 16 bytes"),
        ({"uses": 0}, "1 to 10,000 uses"),
        ({"uses": 10_001}, "1 to 10,000 uses"),
        ({"expires": datetime(2026, 3, 1)}, "in UTC"),
        ({"expires": NOW + timedelta(microseconds=1)}, "to the second"),
        ({"authority": bytes(2000)}, "at most 1024 bytes"),
        ({"authority": b"none"}, "the certificate of the run's authority"),
        ({"authority": der(leaf_certificate("x", KEY.public_key(), AUTHORITY, KEY, purpose=CLIENT))}, "certificate"),
        ({"authority": der(authority_certificate("y", KEY))[:-4] + bytes(4)}, "certificate"),
    ],
)
def test_what_no_ticket_can_hold_is_refused_when_it_is_made(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(TicketError, match="SW-T206: a ticket cannot hold this") as refused:
        replace(TICKET, **changed)
    assert expected in str(refused.value)


def test_an_expired_ticket_names_its_end_this_clock_and_that_the_clock_may_be_wrong() -> None:
    read_ticket(TEXT).check_time(TICKET.expires - timedelta(seconds=1))
    with pytest.raises(TicketError, match="SW-T204: the ticket has expired") as refused:
        read_ticket(TEXT).check_time(TICKET.expires)
    text = str(refused.value)
    assert "before 2026-03-01 15:22:07 UTC" in text
    assert "it is 2026-03-01 15:22:07 UTC by the clock of this machine" in text
    assert "if that clock is wrong, set it" in text


def test_no_secret_is_shown() -> None:
    for shown in (repr(TICKET), str(TICKET), f"{TICKET}", repr(TICKET.guest)):
        assert repr(TICKET.secret)[2:-1] not in shown
        assert TICKET.secret.hex() not in shown
        assert TEXT not in shown
        assert "PRIVATE" not in shown
    assert "run-7" in repr(TICKET)


def test_the_fingerprint_is_that_of_the_certificate() -> None:
    assert TICKET.fingerprint == hashlib.sha256(TICKET.authority).hexdigest()
