"""Orders that are answered at once, for whoever watches a run."""

from __future__ import annotations

from shieldwall.core.ids import Role, Slot
from shieldwall.core.messages import (
    Correct,
    Corrected,
    Message,
    Show,
    Shown,
    StateReport,
    TakeGradients,
    Taken,
    TakePrepared,
)
from shieldwall.pipeline.desk import Desk
from shieldwall.pipeline.transfer.fetch import Fetcher


class DeskCorrespondence:
    """One order, one answer; everything else that comes meanwhile waits on the desk.

    Args:
        desk: the coordinator's messages.
        fetcher: fetches states.
    """

    def __init__(self, desk: Desk, fetcher: Fetcher) -> None:
        self._desk = desk
        self._fetcher = fetcher

    async def show(self, host: str, slot: Slot) -> Shown:
        """What `host` has of a slot's tensor."""
        await self._desk.send(host, Show(slot=slot))
        return await self._desk.take(Shown, fits=lambda shown: (shown.host, shown.slot) == (host, slot))

    async def state(self, host: str, stage: int, role: Role) -> StateReport:
        """The committed state of a stage or duplicate."""
        return await self._fetcher.report(host, stage, role)

    async def order(self, host: str, order: Message) -> None:
        """Give an order that is acknowledged, and wait for that."""
        await self._desk.send(host, order)
        if isinstance(order, Correct):
            slot = order.header.statement.slot
            await self._desk.take(Corrected, fits=lambda report: (report.host, report.slot) == (host, slot))
        elif isinstance(order, (TakeGradients, TakePrepared)):
            await self._desk.take(Taken, fits=lambda report: report.host == host)
        else:
            raise TypeError(f"{type(order).__name__} is not acknowledged")
