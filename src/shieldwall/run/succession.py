"""Duties are reassigned, never waived: when a worker is expelled, a spare or the initiator takes what it held."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.recovery.views import without
from shieldwall.run.handover import Handover
from shieldwall.schedule import Host


class Succession:
    """Moves duties between steps, while nothing is in work.

    Args:
        handover: moves them.
        hosts: who holds what now.
        spares: workers that hold nothing yet, first come first served.
    """

    def __init__(self, handover: Handover, hosts: Sequence[Host], spares: Sequence[str]) -> None:
        self._handover = handover
        self._coordinator = handover.coordinator
        self._spares = list(spares)
        self.hosts = tuple(hosts)
        """Who holds what."""

    async def begin(self) -> None:
        """Announce the first view; nothing is held before."""
        await self._announce()

    async def expel(self, culprit: str) -> str:
        """Let a successor take all that `culprit` held; gives the successor's name.

        Raises:
            RunError: as `Coordinator.state`; the culprit's state is never asked for where somebody else has it.
        """
        if culprit in self._spares:
            self._spares.remove(culprit)
        leaving = next((host for host in self.hosts if host.name == culprit), None)
        if leaving is None:
            return ""
        successor = self._spares.pop(0) if self._spares else INITIATOR
        states = {stage: await self._coordinator.state(stage, (Role.DUPLICATE,)) for stage in leaving.stages}
        states |= {stage: await self._coordinator.state(stage, (Role.STAGE,)) for stage in leaving.duplicates}
        before, self.hosts = self.hosts, without(self.hosts, culprit, successor)
        await self._announce()
        for role, stages in ((Role.STAGE, leaving.stages), (Role.DUPLICATE, leaving.duplicates)):
            for stage in stages:
                if role is Role.STAGE or stage in _duplicates(self.hosts):
                    await self._handover.hand(successor, stage, states[stage], role)
                else:
                    self._coordinator.forget(stage, role)
        for stage in _duplicates(before) - _duplicates(self.hosts) - set(leaving.duplicates):
            await self._coordinator.release(stage, Role.DUPLICATE)
        await self._coordinator.stop([culprit])
        return successor

    async def _announce(self) -> None:
        await self._handover.announce(self._handover.shield.view(self.hosts), self.hosts)


def _duplicates(hosts: Sequence[Host]) -> set[int]:
    return {stage for host in hosts for stage in host.duplicates}
