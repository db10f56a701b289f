"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's."""

    check: str
    """Its name: one word, or a few."""
    about: str = ""
    """What it looked at where there are several: an address, a file, a device."""
    passed: bool
    saw: str
    remedy: str = ""
    """What to do; empty where it passed."""
    prevents: bool = False
    """No part can be taken in the run before that is done."""

    def __str__(self) -> str:
        words = f"{'pass' if self.passed else 'FAIL'}  {' '.join(filter(None, (self.check, self.about)))}: {self.saw}"
        return f"{words}; do: {self.remedy}" if self.remedy else words

    def to_json(self) -> dict[str, Any]:
        """Plain data with all of it."""
        return asdict(self)


def good(check: str, saw: str, about: str = "") -> Finding:
    """A check that passed."""
    return Finding(check=check, about=about, passed=True, saw=saw)


def bad(check: str, saw: str, remedy: str, about: str = "", *, prevents: bool = True) -> Finding:
    """A check that failed; unless said otherwise it keeps the machine from taking part."""
    return Finding(check=check, about=about, passed=False, saw=saw, remedy=remedy, prevents=prevents)
