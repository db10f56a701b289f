"""What the initiator's transport has seen of others' messages: the evidence that nobody has to be believed for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from shieldwall.core.ids import Slot
from shieldwall.core.signing import Signed


class Witness(Protocol):
    """Sees what passes the initiator's machine, and looks at nothing but names and sizes."""

    def begin(self) -> None:
        """Lanes are about to be ordered: a tensor that passed before may have been dropped, and counts for nothing."""

    def passed(
        self, slot: Slot, source: str, destination: str, statements: Iterable[Signed[Any]] | None = None
    ) -> bool | None:
        """Whether `source`'s tensor for `slot`, or where some are given one of its statements about it, has passed
        since on its way to `destination`; None where it may go another way."""

    def moved_bytes(self, host: str) -> int | None:
        """Bytes of large messages that went to or came from `host` so far; None where that is not counted."""

    def is_held_up(self, host: str) -> bool:
        """Whether what `host` has sent waits on the initiator's machine because somebody else does not take it."""
