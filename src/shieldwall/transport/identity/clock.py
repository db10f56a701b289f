"""The time of day, in UTC and to the second: when tickets and certificates end, and how two clocks may differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

LARGEST_SKEW = timedelta(minutes=5)
"""A joiner's clock may be this far from the run's; certificates are back-dated by more."""


def utc_now() -> datetime:
    """This machine's time, in UTC and to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def in_words(moment: datetime) -> str:
    """A time for a message, such as `2026-03-01 14:22:07 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def from_seconds(seconds: int) -> datetime:
    """The time that is `seconds` after the start of 1970, in UTC.

    Raises:
        ValueError, OverflowError: there is no such time.
    """
    return datetime.fromtimestamp(seconds, UTC)


def to_seconds(moment: datetime) -> int:
    """Whole seconds since the start of 1970."""
    return int(moment.timestamp())
