"""What is refused is told of once, and counted after that."""

from __future__ import annotations

from shieldwall.core.errors import TransportError
from shieldwall.transport.remote.tally import Tally

ERROR = TransportError("SW-T107", "a message cannot be read")
WORDS = "refused, 192.0.2.8: a message cannot be read (SW-T107)"


def test_the_first_is_told_and_then_powers_of_ten_and_the_end() -> None:
    said: list[str] = []
    tally = Tally(said.append)
    for port in range(12_345):
        tally.refused(f"ipv4:192.0.2.8:{port}", ERROR)
    told = [WORDS] + [f"{WORDS}, {times} times by now" for times in ("10", "100", "1,000", "10,000")]
    assert said == told
    tally.close()
    assert said == [*told, f"{WORDS}, 12,345 times by now"]
    tally.close()
    assert len(said) == 6


def test_nobody_fills_its_memory() -> None:
    said: list[str] = []
    tally = Tally(said.append)
    for host in range(10_000):
        tally.refused(f"ipv6:%5B2001:db8::{host:x}%5D:1", ERROR)
    assert said[0] == "refused, [2001:db8::0]: a message cannot be read (SW-T107)"
    assert len(tally.counts) < 300
    assert tally.counts.total() == 10_000
    assert len(said) < 300
