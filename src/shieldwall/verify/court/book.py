"""The court's book: every verdict, and who is expelled for it."""

from __future__ import annotations

from shieldwall.core.signing import Identity
from shieldwall.core.verdicts import Verdict
from shieldwall.verify.court.record import Record

WITHHOLDING = 4
"""The rule of what is missing."""


class VerdictBook:
    """Verdicts of one run.

    Args:
        identity: the initiator, who signs them.
        record: remembers them.
        bans: whether a culprit's word counts for nothing from its first verdict on; it is expelled after the step.
    """

    def __init__(self, identity: Identity, record: Record, *, bans: bool) -> None:
        self._identity = identity
        self._record = record
        self._bans = bans
        self._condemned: set[str] = set()
        self._expelled: set[str] = set()
        self.verdicts: list[Verdict] = []
        self.alerts = 0
        """Statements that somebody's work is not what it should be, and joins that did not fit."""

    def convict(self, verdict: Verdict) -> None:
        """Record a verdict; a lost message is a fault without a penalty."""
        self.verdicts.append(verdict)
        self._record.add(self._identity.sign(verdict))
        if self._bans and verdict.rule != WITHHOLDING:
            self._condemned.add(verdict.culprit)

    def has_condemned(self, name: str) -> bool:
        """Whether a party's word counts for nothing any more."""
        return name in self._condemned

    def take_condemned(self) -> list[str]:
        """Culprits that are to be expelled and were not taken yet."""
        taken = sorted(self._condemned - self._expelled)
        self._expelled.update(taken)
        return taken
