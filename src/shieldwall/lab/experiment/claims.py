"""A claim held against the numbers: it holds, it does not, or this size cannot tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from shieldwall.lab.experiment.numbers import Spread

Verdict = Literal["holds", "does not hold", "undecidable at this size", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is claimed, of what, and what the numbers say."""

    text: str
    where: str
    """The cells that it is about."""
    verdict: Verdict
    figures: str
    must: bool = False
    """Whether this package promises it; what the paper claims may fail."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        verdict = self.verdict if self.verdict == "holds" else f"**{self.verdict}**"
        return f"{self.where}: {self.text}: {verdict}; {self.figures}"


def at_least(limit: float, found: Spread | None) -> Verdict:
    """Whether every seed reaches the limit; seeds that disagree decide nothing."""
    if found is None:
        return "not run"
    reached = [value >= limit for value in found.values]
    return "holds" if all(reached) else "undecidable at this size" if any(reached) else "does not hold"


def at_most(limit: float, found: Spread | None) -> Verdict:
    """Whether every seed stays within the limit."""
    if found is None:
        return "not run"
    kept = [value <= limit for value in found.values]
    return "holds" if all(kept) else "undecidable at this size" if any(kept) else "does not hold"


def equal(pairs: list[bool]) -> Verdict:
    """Whether all are equal; one that is not is enough."""
    if not pairs:
        return "not run"
    return "holds" if all(pairs) else "does not hold"
