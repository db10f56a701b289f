"""From where on the doctor says that something is wrong, and for how long it waits."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.transport.remote.channel import PING_TIMEOUT_S
from shieldwall.transport.remote.link import PART_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the line to a run must do, and how patiently that is looked at."""

    connect_s: float = 3.0
    """For a name to resolve, for TCP to connect, and for TLS to shake hands."""
    answer_s: float = 5.0
    """For each answer of the run."""
    round_trip_s: float = PING_TIMEOUT_S / 2
    """The median that is well: connections whose end does not answer for twice as long are broken off."""
    bandwidth_bytes_s: float = PART_BYTES / PING_TIMEOUT_S
    """The least that is well: so that a part of a letter has passed before a connection counts as dead."""
