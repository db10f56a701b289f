"""A checker that blames honest work."""

from __future__ import annotations

from typing import ClassVar

from shieldwall.attacks.base import Attack, Turn


class FalseAccusation(Attack):
    """Says of a stage that agrees with its duplicate that it does not.

    Formula: alert in place of settlement
    Sees: its own duplicate's result and the stage's header; the attacked stage is the one whose host accuses.
    Source: false accusation; rule 1 of the referee.
    Caught by: the referee's own computation, which convicts the accuser.
    """

    row: ClassVar[int | None] = 25

    def agree(self, turn: Turn, agrees: bool) -> bool:
        del turn, agrees
        return False
