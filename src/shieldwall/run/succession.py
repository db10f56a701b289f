"""Duties are reassigned, never waived: when a worker goes, a spare or the initiator takes what it held (design 4.8)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.messages import StageState
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
        await self._handover.begin(self._handover.shield.view(self.hosts), self.hosts)

    async def expel(self, culprit: str) -> str:
        """Let a successor take all that `culprit` held; gives the successor's name, "" where it held nothing.

        Raises:
            RunError: as `Coordinator.state`; the culprit's state is never asked for where somebody else has it.
        """
        if culprit in self._spares:
            self._spares.remove(culprit)
        if culprit not in [host.name for host in self.hosts]:
            return ""
        return (await self._replace([culprit]))[culprit]

    async def replace(self, lost: Collection[str]) -> dict[str, str]:
        """Let successors take what hosts held that cannot be reached any more; gives the successor of each.

        Raises:
            RunError: as `Coordinator.state`; both holders of a state are lost.
            HostsLost: more hosts were lost on the way; what is lost now can be replaced at once.
        """
        self._spares = [spare for spare in self._spares if spare not in lost]
        return await self._replace([host.name for host in self.hosts if host.name in lost])

    def add_spare(self, name: str) -> None:
        """Somebody is there who holds nothing yet."""
        if name not in self._spares and name not in [host.name for host in self.hosts]:
            self._spares.append(name)

    async def _replace(self, names: Sequence[str]) -> dict[str, str]:
        leaving = [host for host in self.hosts if host.name in names]
        states: dict[int, StageState] = {}
        for host in leaving:
            states |= {stage: await self._coordinator.state(stage, (Role.DUPLICATE,)) for stage in host.stages}
            states |= {stage: await self._coordinator.state(stage, (Role.STAGE,)) for stage in host.duplicates}
        before, successors = self.hosts, {host.name: self._next_successor() for host in leaving}
        for name, successor in successors.items():
            self.hosts = without(self.hosts, name, successor)
        await self._announce()
        for host in leaving:
            await self._hand(host, successors[host.name], states)
        gone = {stage for host in leaving for stage in host.duplicates}
        for stage in _duplicates(before) - _duplicates(self.hosts) - gone:
            await self._coordinator.release(stage, Role.DUPLICATE)
        return successors

    def _next_successor(self) -> str:
        """A spare that can be reached, or the initiator where there is none."""
        self._spares = [spare for spare in self._spares if self._coordinator.reaches(spare)]
        return self._spares.pop(0) if self._spares else INITIATOR

    async def _hand(self, leaving: Host, successor: str, states: Mapping[int, StageState]) -> None:
        for role, stages in ((Role.STAGE, leaving.stages), (Role.DUPLICATE, leaving.duplicates)):
            for stage in stages:
                if role is Role.STAGE or stage in _duplicates(self.hosts):
                    await self._handover.hand(successor, stage, states[stage], role)
                else:
                    self._coordinator.forget(stage, role)

    async def _announce(self) -> None:
        await self._handover.announce(self._handover.shield.view(self.hosts), self.hosts)


def _duplicates(hosts: Sequence[Host]) -> set[int]:
    return {stage for host in hosts for stage in host.duplicates}
