"""Messages that do not count: from somebody who has no say in it, or not asked for."""

from __future__ import annotations

import logging
from collections import Counter

from shieldwall.core.messages import Message

_log = logging.getLogger(__name__)


class Dropped:
    """Counts them by sender and kind; the messages themselves are let go of, so that nobody can fill the memory.

    Args:
        receiver: who drops them.
    """

    def __init__(self, receiver: str) -> None:
        self._receiver = receiver
        self.counts: Counter[tuple[str, str]] = Counter()
        """Sender, by the transport's word, and the message's kind."""

    def add(self, sender: str, message: Message) -> None:
        """Drop a message; the first of each sender and kind is logged."""
        kind = type(message).__name__
        if (sender, kind) not in self.counts:
            _log.warning("%s drops a %s of %s: it does not count", self._receiver, kind, sender)
        self.counts[sender, kind] += 1
