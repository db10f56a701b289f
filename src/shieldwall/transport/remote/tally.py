"""Tells once of each thing that was refused, and after that how often it was: a stranger cannot fill a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import unquote

from shieldwall.core.errors import ShieldwallError

_MOST_KINDS = 256
_OTHERS = "others"


class Tally:
    """Of one port.

    Told at the first time, the tenth, the hundredth and so on; the rest is counted, and told at the end. What is kept
    is bounded: beyond 256 kinds of refusals, all from whoever else are one kind for each code.

    Args:
        tell: told in words.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: dict[tuple[str, str, str], int] = {}
        """How often it had been when that was told last."""
        self._words: dict[tuple[str, str, str], str] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What was done about it, from whom, and the error's code, to how often."""

    def refused(self, peer: str, error: ShieldwallError) -> None:
        """Somebody was refused.

        Args:
            peer: as gRPC calls it; its port does not count, since each attempt has another.
            error: why.
        """
        self.count("refused", _host_of(peer), error)

    def count(self, what: str, who: str, error: ShieldwallError) -> None:
        """Something was done about what somebody sent."""
        key = (what, who, error.code)
        if key not in self.counts and len(self.counts) >= _MOST_KINDS:
            key = (what, _OTHERS, error.code)
        self.counts[key] += 1
        self._words.setdefault(key, f"{what}, {key[1]}: {error.summary} ({error.code})")
        if _is_power_of_ten(self.counts[key]):
            self._say(key)

    def close(self) -> None:
        """Tell of everything that has happened more often than was told."""
        for key, times in self.counts.items():
            if times > self._told.get(key, 0):
                self._say(key)

    def _say(self, key: tuple[str, str, str]) -> None:
        times = self._told[key] = self.counts[key]
        self._tell(self._words[key] + (f", {times:,} times by now" if times > 1 else ""))


def _is_power_of_ten(number: int) -> bool:
    while number % 10 == 0:
        number //= 10
    return number == 1


def _host_of(peer: str) -> str:
    """HOST from what gRPC calls a peer, such as `ipv4:127.0.0.1:40000`."""
    return unquote(peer.partition(":")[2]).rpartition(":")[0] or peer
