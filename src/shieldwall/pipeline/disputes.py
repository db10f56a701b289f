"""Tensors of which the one says that it sent them and the other that they did not come, where nobody saw either.

Neither is believed. The tensor goes once more, through the initiator, so that the step goes on whoever is right; who is
in such disputes with two others, or a sender that is in one with the same receiver again and again, loses its stages.
Whoever makes them up is in them with the next neighbour, too. The initiator is never at fault.
"""

from __future__ import annotations

from collections import Counter

from shieldwall.core.ids import INITIATOR

OFTEN = 3
"""So many tensors of one pair, and the sender goes first; the receiver follows if it happens with the next one, too."""


class Disputes:
    """One run's."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()

    def add(self, sender: str, receiver: str) -> str:
        """A tensor had to be asked for anew and was used then; gives who loses its stages for it, "" for nobody."""
        self._pairs[sender, receiver] += 1
        for host in (sender, receiver):
            if host != INITIATOR and len(self._partners(host)) > 1:
                return host
        return sender if self._pairs[sender, receiver] >= OFTEN else ""

    def _partners(self, host: str) -> set[str]:
        return {other for pair in self._pairs if host in pair for other in pair if other != host}
