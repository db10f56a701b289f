"""What the shield saw since somebody last asked: a line's worth of news."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shieldwall.attacks import AttackLog
from shieldwall.core.verdicts import Verdict
from shieldwall.verify.court import Court
from shieldwall.verify.court.book import WITHHOLDING

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Counts for a stretch of a run."""

    alerts: int = 0
    rerun: int = 0
    """Micro-batches that were run again."""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """Rows as `summary.json` holds them."""
    attacks_fired: int | None = None
    """None where the run's configuration holds no attacks; so below."""
    false_accusations: int | None = None

    def to_line(self) -> dict[str, Any]:
        """The keys of a line of `metrics.jsonl`; those that say nothing are left out, `alerts` never."""
        line: dict[str, Any] = {"alerts": self.alerts}
        line |= {"micro_batches_rerun": self.rerun} if self.rerun else {}
        line |= {"verdicts": self.verdicts} if self.verdicts else {}
        if self.attacks_fired is not None:
            line |= {"attacks_fired": self.attacks_fired, "false_accusations": self.false_accusations}
        return line

    @classmethod
    def total(cls, lines: Iterable[Line], last: News, *, attacked: bool) -> News:
        """All news of a run: of its lines, and of what came after the last of them."""
        every = [*lines, last.to_line()]
        return cls(
            alerts=sum(line.get("alerts", 0) for line in every),
            rerun=sum(line.get("micro_batches_rerun", 0) for line in every),
            verdicts=[row for line in every for row in line.get("verdicts", [])],
            attacks_fired=sum(line.get("attacks_fired", 0) for line in every) if attacked else None,
            false_accusations=sum(line.get("false_accusations", 0) for line in every) if attacked else None,
        )


def expelled_before(lines: Iterable[Line]) -> tuple[str, ...]:
    """Culprits in lines of `metrics.jsonl`, in the order in which they were found; a lost message expels nobody."""
    rows = (row for line in lines for row in line.get("verdicts", []))
    return tuple(dict.fromkeys(row["culprit"] for row in rows if row["rule"] != WITHHOLDING))


class Watch:
    """Looks at the court and at the attackers' own log.

    Args:
        court: judges over the run; None where nothing is checked.
        log: what the run's own attackers did; None where there are none.
    """

    def __init__(self, court: Court | None, log: AttackLog | None) -> None:
        self._court = court
        self._log = log
        self._alerts = self._verdicts = self._fired = self._told = 0

    def untold(self) -> list[Verdict]:
        """Verdicts since the last call."""
        verdicts = self._court.book.verdicts[self._told :] if self._court else []
        self._told += len(verdicts)
        return verdicts

    def take(self, step: int, rerun: int = 0) -> News:
        """News since the last call; `step` is the one in work. An evaluation behind it is part of the next one."""
        alerts = self._court.book.alerts if self._court else 0
        verdicts = self._court.book.verdicts[self._verdicts :] if self._court else []
        fired = self._log.fired if self._log else 0
        news = News(
            alerts=alerts - self._alerts,
            rerun=rerun,
            verdicts=[verdict.summary_row(max(step, verdict.step)) for verdict in verdicts],
            attacks_fired=None if self._log is None else fired - self._fired,
            false_accusations=None if self._log is None else self._false(verdicts, self._log),
        )
        self._alerts, self._verdicts, self._fired = alerts, self._verdicts + len(verdicts), fired
        return news

    def _false(self, verdicts: Iterable[Verdict], log: AttackLog) -> int:
        """Verdicts against workers that had done nothing by then."""
        return sum(not log.fired_by(verdict.culprit, verdict.step) for verdict in verdicts)
