"""What the initiator's end of everything has seen of others' messages; fulfils `pipeline.witness.Witness`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from shieldwall.core.ids import Slot
from shieldwall.core.signing import Signed
from shieldwall.transport.remote.hub import Hub


@dataclass(frozen=True, slots=True)
class HubWitness:
    """What workers send each other passes here, but for what goes directly.

    Args:
        hub: that it passes.
        goes_directly: whether what one worker sends to another may go another way.
    """

    hub: Hub
    goes_directly: Callable[[str, str], bool] = lambda *_: False

    def begin(self) -> None:
        self.hub.passages.begin()

    def passed(
        self, slot: Slot, source: str, destination: str, statements: Iterable[Signed[Any]] | None = None
    ) -> bool | None:
        if self.hub.passages.passed(slot, source, destination, statements):
            return True
        return None if self.goes_directly(source, destination) else False

    def moved_bytes(self, host: str) -> int | None:
        link = self.hub.links.get(host)
        return link.sent_bytes + link.got_bytes if link else 0

    def is_held_up(self, host: str) -> bool:
        return host in self.hub.held_up
