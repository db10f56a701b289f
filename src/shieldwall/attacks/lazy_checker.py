"""A checker that saves itself the work."""

from __future__ import annotations

from typing import ClassVar

from shieldwall.attacks.base import Attack, Turn


class LazyChecker(Attack):
    """Never computes its duplicate and settles whatever the stage's header says.

    Formula: settlement of root_out as the maker claims it, without computation
    Sees: the header of the stage that it has to check; the attacked stage is the one whose host is lazy.
    Source: lazy verifiers, who answer "ok" without working; one half of adjacent collusion.
    Caught by: a share of audits by trusted parties; known errors that it fails to report.
    """

    row: ClassVar[int | None] = 27

    def check(self, turn: Turn) -> bool:
        del turn
        return False
