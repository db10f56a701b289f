"""Duties that move while somebody is lost."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.messages import StageState
from shieldwall.pipeline.desk import HostsLost
from shieldwall.recovery.views import with_duplicates
from shieldwall.run.handover import Handover
from shieldwall.run.succession import Succession, duties
from shieldwall.schedule import Host


class Told:
    """A coordinator, its handover and its shield: who was told what, and who is lost in the place of taking a stage."""

    def __init__(self, held: dict[tuple[Role, int], str]) -> None:
        self._held = held
        self.gone: dict[str, float] = {}
        self.dies = ""
        self.released: list[tuple[str, int, Role]] = []
        self.announced: list[tuple[Host, ...]] = []
        self.coordinator = self.shield = self

    @property
    def holders(self) -> dict[tuple[Role, int], str]:
        return dict(self._held)

    def view(self, hosts: tuple[Host, ...], **_: Any) -> tuple[Host, ...]:
        return hosts

    async def begin(self, view: Any, hosts: Any) -> None:
        self.announced.append(tuple(hosts))

    announce = begin

    async def state(self, stage: int) -> StageState:
        del stage
        return StageState(parameters={})

    async def hand(self, host: str, stage: int, state: StageState, role: Role) -> None:
        del state
        if host == self.dies:
            self.gone[host] = 2.0
            raise HostsLost([host])
        self._held[role, stage] = host

    async def release(self, host: str, stage: int, role: Role) -> None:
        self.released.append((host, stage, role))

    def forget(self, stage: int, role: Role) -> None:
        self._held.pop((role, stage), None)


def test_what_the_initiator_was_to_give_back_it_keeps_where_the_helper_is_lost() -> None:
    """Story: a worker that came back and was killed while it was sent a stage left the run waiting for ever. The others
    had been told that it holds the stage, and the initiator let go of it."""

    async def play() -> None:
        all_there = with_duplicates([Host(INITIATOR, (0, 4)), *(Host(f"worker-{n}", (n,)) for n in (1, 2, 3))])
        told = Told(duties(all_there))
        succession = Succession(cast("Handover", told), all_there, [], all_there)
        await succession.begin()
        told.gone["worker-2"] = 2.0
        assert succession.dismiss_lost() == {"worker-2": INITIATOR}
        await succession.settle()
        without_it = succession.hosts
        assert told.holders == duties(without_it)
        assert told.holders[Role.STAGE, 2] == INITIATOR
        told.released.clear()

        told.gone.clear()
        succession.add_spare("worker-2")
        assert succession.relieve() == {"worker-2": (2,)}
        told.dies = "worker-2"
        with pytest.raises(HostsLost):
            await succession.settle()
        assert told.announced[-1] == succession.hosts
        succession.dismiss_lost()
        await succession.settle()
        assert duties(succession.hosts) == duties(without_it) == told.holders
        assert told.released == []
        assert told.announced[-1] == succession.hosts

    asyncio.run(play())
