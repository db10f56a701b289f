"""What has passed the initiator's machine, from whom and to whom: tensors are neither looked into nor kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shieldwall.core.ids import Slot
from shieldwall.core.messages import Message, Note, Relay, TensorFrame
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header, Settlement

_KEPT = 4096
"""Of one pair; who floods pushes out what it has sent itself."""


class Passages:
    """What passed since lanes were ordered last, by pair of sender and receiver.

    A statement is known by its bytes and its signature together: what only looks like it was never said.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[tuple[Slot, bytes], None]] = {}

    def begin(self) -> None:
        """Lanes are about to be ordered: what passed before counts for nothing."""
        self._seen.clear()

    def note(self, source: str, destination: str, message: Message) -> None:
        """A message passes."""
        if isinstance(message, Relay):
            self.note(source, message.destination, message.note)
        elif isinstance(message, TensorFrame):
            self._add(source, destination, message.slot, b"")
        elif isinstance(message, Note) and isinstance(message.signed.statement, Header | Settlement):
            signed = message.signed
            self._add(source, destination, signed.statement.slot, signed.signature + signed.content)

    def passed(self, slot: Slot, source: str, destination: str, statements: Iterable[Signed[Any]] | None) -> bool:
        """Whether a tensor for `slot` has passed, or one of these statements about it."""
        seen = self._seen.get((source, destination), {})
        if statements is None:
            return (slot, b"") in seen
        return any((slot, signed.signature + signed.content) in seen for signed in statements)

    def _add(self, source: str, destination: str, slot: Slot, mark: bytes) -> None:
        seen = self._seen.setdefault((source, destination), {})
        seen[slot, mark] = None
        if len(seen) > _KEPT:
            del seen[next(iter(seen))]
