"""The receipt of an experiment: what really was falsified, by whom and when. No attacker and no defence reads it."""

from __future__ import annotations

from collections import Counter


class AttackLog:
    """Shared by the attackers of a run; counts only what was changed, bit for bit."""

    def __init__(self) -> None:
        self._by_kind: Counter[str] = Counter()
        self._struck: set[tuple[str, int]] = set()
        self._first: dict[str, int] = {}

    def note(self, kind: str, worker: str, step: int) -> None:
        """`worker` has falsified one thing in `step`."""
        self._by_kind[kind] += 1
        self._struck.add((worker, step))
        self._first[worker] = min(step, self._first.get(worker, step))

    @property
    def fired(self) -> int:
        """Things falsified: a tensor made, a statement, one destination's tensor, a frame, a check, a state."""
        return sum(self._by_kind.values())

    @property
    def by_kind(self) -> dict[str, int]:
        """The same for each kind that fired."""
        return dict(self._by_kind)

    @property
    def struck(self) -> frozenset[tuple[str, int]]:
        """Every (worker, step) in which something was falsified."""
        return frozenset(self._struck)

    def fired_in(self, worker: str, step: int) -> bool:
        """Whether `worker` falsified anything in `step`."""
        return (worker, step) in self._struck

    def fired_by(self, worker: str, step: int) -> bool:
        """The same for `step` or any before it: a poisoned state shows only in a later step."""
        return worker in self._first and self._first[worker] <= step
