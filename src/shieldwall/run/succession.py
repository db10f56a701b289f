"""Duties are reassigned, never waived: when a worker goes, a spare or the initiator takes what it held (design 4.8)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.messages import StageState
from shieldwall.recovery.custody import Swap, exchanged
from shieldwall.recovery.views import relieved, without
from shieldwall.run.custody import Custody
from shieldwall.run.handover import Handover
from shieldwall.schedule import Host

Duty = tuple[Role, int]
"""A stage or the duplicate of one."""


class Succession:
    """Moves duties between steps, while nothing is in work.

    First it is settled who is to hold what, then everybody is told, then the states go over. If somebody is lost on the
    way, the same again brings it to its end, whatever had been done by then.

    Args:
        handover: moves them.
        hosts: who holds what now.
        spares: workers that hold nothing yet, first come first served.
        portions: how the stages were dealt out when everybody was there.
        has_room: whether a host's memory holds what it would hold.
    """

    def __init__(
        self,
        handover: Handover,
        hosts: Sequence[Host],
        spares: Sequence[str],
        portions: Sequence[Host],
        has_room: Callable[[Host], bool] = lambda _: True,
    ) -> None:
        self._has_room = has_room
        self._handover = handover
        self._coordinator = handover.coordinator
        self._spares = list(spares)
        self._portions = [host.stages for host in portions if host.name != INITIATOR]
        self._released: dict[tuple[Duty, str], None] = {}
        """What others hold by now, and who is still to let go of it."""
        self._announced: tuple[Host, ...] = ()
        """Who is to hold what, as everybody was told last."""
        self.hosts = tuple(hosts)
        """Who is to hold what."""

    async def begin(self) -> None:
        """Announce the first view; nothing is held before."""
        await self._handover.begin(self._handover.shield.view(self.hosts), self.hosts)
        self._announced = self.hosts

    def dismiss(self, name: str) -> str:
        """Write down that somebody else is to hold what this host holds, which is not asked for anything any more.

        Gives the successor's name, "" where it held nothing. `settle` makes it so.
        """
        if name in self._spares:
            self._spares.remove(name)
        if name not in [host.name for host in self.hosts]:
            return ""
        self._spares = [spare for spare in self._spares if spare not in self._coordinator.gone]
        successor = self._first_with_room(partial(without, self.hosts, name)) or INITIATOR
        self.hosts = without(self.hosts, name, successor)
        for (role, stage), holder in self._coordinator.holders.items():
            if holder == name:
                self._coordinator.forget(stage, role)
        return successor

    def dismiss_lost(self) -> dict[str, str]:
        """`dismiss` everybody who cannot be reached any more; gives the successor of each who held something."""
        gone = self._coordinator.gone
        return {host.name: self.dismiss(host.name) for host in self.hosts if host.name in gone}

    async def settle(self) -> None:
        """Hand over until everybody holds what is written down.

        Raises:
            StateLostError: SW-V302; nobody who has a state can be reached any more.
            RunError: as `Coordinator.state`.
            HostsLost: somebody was lost on the way; once they are dismissed, the same again brings it to its end.
        """
        wanted, held = duties(self.hosts), self._coordinator.holders
        missing = {duty: host for duty, host in wanted.items() if held.get(duty) != host}
        states: dict[int, StageState] = {}
        for stage in sorted({stage for _, stage in missing}):
            states[stage] = await self._coordinator.state(stage)
        if missing or held.keys() - wanted.keys() or self._announced != self.hosts:
            await self._announce(states)
        for duty in held.keys() - wanted.keys() | held.keys() & missing.keys():
            self._released[duty, held[duty]] = None
        for (role, stage), host in missing.items():
            await self._handover.hand(host, stage, states[stage], role)
        for duty in held.keys() - wanted.keys():
            self._coordinator.forget(duty[1], duty[0])
        for (role, stage), host in list(self._released):
            kept_after_all = wanted.get((role, stage)) == host  # who was to take it was lost before it had it
            if not kept_after_all and host not in self._coordinator.gone:
                await self._coordinator.release(host, stage, role)
            del self._released[(role, stage), host]

    def relieve(self) -> dict[str, tuple[int, ...]]:
        """Write down that spares take back from the initiator what it took over from others; `settle` makes it so.

        Gives each helper's stages. What one worker held at the start goes to one worker.
        """
        relieved_by: dict[str, tuple[int, ...]] = {}
        mine = next(set(host.stages) for host in self.hosts if host.name == INITIATOR)
        for stages in self._portions:
            if not (stages and mine.issuperset(stages)):
                continue
            helper = self._first_with_room(partial(relieved, self.hosts, stages))
            if helper:
                self.hosts = relieved(self.hosts, stages, helper)
                relieved_by[helper] = stages
        return relieved_by

    def _first_with_room(self, then: Callable[[str], Sequence[Host]]) -> str:
        """Takes the first spare whose memory holds what it would hold `then`; "" where there is none."""
        for spare in self._spares:
            if all(self._has_room(host) for host in then(spare) if host.name == spare):
                self._spares.remove(spare)
                return spare
        return ""

    def add_spare(self, name: str) -> None:
        """Somebody is there who holds nothing yet."""
        if name not in self._spares and name not in [host.name for host in self.hosts]:
            self._spares.append(name)

    def swaps(self, custody: Custody) -> list[Swap]:
        """Who is to change places with whom by a new draw, spares that can be reached among them."""
        return custody.draw(self.hosts, [name for name in self._spares if name not in self._coordinator.gone])

    def swap(self, swap: Swap) -> bool:
        """Write down that two workers change places; `settle` makes it so.

        False where one of them is gone, or has no room for what the other one holds.
        """
        there = {*(host.name for host in self.hosts), *self._spares} - self._coordinator.gone.keys()
        if not there.issuperset(swap):
            return False
        moved, spares = exchanged(self.hosts, self._spares, swap)
        if not all(self._has_room(host) for host in moved if host.name in swap):
            return False
        self.hosts, self._spares = moved, spares
        return True

    async def _announce(self, states: Mapping[int, StageState] | None = None) -> None:
        await self._handover.announce(self._handover.shield.view(self.hosts, states=states), self.hosts)
        self._announced = self.hosts


def duties(hosts: Collection[Host]) -> dict[Duty, str]:
    """Who holds each stage and each duplicate."""
    stages = {(Role.STAGE, stage): host.name for host in hosts for stage in host.stages}
    return stages | {(Role.DUPLICATE, stage): host.name for host in hosts for stage in host.duplicates}
