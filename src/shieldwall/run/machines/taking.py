"""Who takes nothing of what is sent to it: its line fills up, and then others wait behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.transport.remote.link import Link


class Taking:
    """Measures for how long a link has not moved, in looks: an initiator that stands still measures nothing.

    Args:
        deadlines: of answers.
        now_s: the time.
    """

    def __init__(self, deadlines: Deadlines, now_s: Callable[[], float] = time.monotonic) -> None:
        self._deadlines = deadlines
        self._now_s = now_s
        self._seen: WeakKeyDictionary[Link, tuple[tuple[int, int], float, float]] = WeakKeyDictionary()
        """By link, what had been taken and sent, when it was looked at last, and for how long it had been idle."""

    def idle_s(self, link: Link) -> float:
        """For how long something has waited for the peer of this link and nothing of it was taken."""
        now_s = self._now_s()
        marks = (link.taken, link.sent_bytes)
        seen, looked_s, idle_s = self._seen.get(link, (marks, now_s, 0.0))
        idle_s += min(now_s - looked_s, 2 * self._deadlines.terms.look_s)
        idle_s = idle_s if link.waiting_bytes and marks == seen else 0.0
        self._seen[link] = (marks, now_s, idle_s)
        return idle_s

    def is_over(self, idle_s: float) -> bool:
        """Whether that is too long."""
        return idle_s > max(self._deadlines.terms.first_s, self._deadlines.answer_s(""))
