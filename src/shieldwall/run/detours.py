"""Playing a step around some hosts, and back again (design 4.10)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.messages import StageState
from shieldwall.core.oversight import StepAbandoned
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.coordinator import StepResult, StepWork
from shieldwall.pipeline.desk import HostsLost
from shieldwall.recovery.detour import Detour, detour
from shieldwall.run.handover import Handover
from shieldwall.schedule import Host, Plan

PlanAround = Callable[[Detour], Plan]


class Detours:
    """Moves duties within a step, while nothing of it is in work.

    Args:
        handover: moves them.
    """

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._coordinator = handover.coordinator
        self._shield = handover.shield

    async def step(
        self, work: StepWork, hosts: Sequence[Host], left_out: Collection[str], plan_around: PlanAround
    ) -> StepResult:
        """Train one step without the hosts that are left out; afterwards all hold again what they held.

        Raises:
            StepAbandoned: something was wrong once more; nothing of the step has changed a weight.
            HostsLost: a host that takes part cannot be reached any more; nothing of the step has changed a weight, and
                everybody counts again as holding what it held. Who is lost once the step is committed is found by the
                next one.
        """
        found = detour(hosts, left_out)
        states = {stage: await self._coordinator.state(stage) for stage in found.lent}
        away = [host for host in hosts if host.name in left_out]
        await self._handover.announce(self._shield.view(found.hosts, bypassed=found.bypassed, still=found.still), hosts)
        self._let_rest(away)
        try:
            for stage in found.bypassed:
                await self._pass_by(stage)
            for stage in found.lent:
                await self._handover.hand(INITIATOR, stage, states[stage], Role.DUPLICATE)
            result = await self._coordinator.step(replace(work, plan=plan_around(found), again=None))
        except (StepAbandoned, HostsLost):
            await self._return(found, away, hosts)
            raise
        await self._return(found, away, hosts)
        return result

    async def _pass_by(self, stage: int) -> None:
        """Let the initiator hold the stage without its layers."""
        span = self._handover.spans[stage]
        empty = StageSpan(stage, span.stages, span.first, span.first)
        await self._coordinator.assign(INITIATOR, empty, StageState(parameters={}))

    async def _return(self, found: Detour, away: Sequence[Host], hosts: Sequence[Host]) -> None:
        for stage in found.bypassed:
            await self._take_from_initiator(stage, Role.STAGE)
        for stage in found.lent:
            await self._take_from_initiator(stage, Role.DUPLICATE)
        for host, stage, role in _held(away):
            self._coordinator.recall(host, stage, role)
        with contextlib.suppress(HostsLost):  # found again by whoever asks something of it
            await self._handover.announce(self._shield.view(hosts), hosts)

    async def _take_from_initiator(self, stage: int, role: Role) -> None:
        """Whoever is lost meanwhile, the initiator is not."""
        self._coordinator.forget(stage, role)
        released = False
        while not released:
            with contextlib.suppress(HostsLost):
                await self._coordinator.release(INITIATOR, stage, role)
                released = True

    def _let_rest(self, away: Sequence[Host]) -> None:
        for _, stage, role in _held(away):
            self._coordinator.forget(stage, role)


def _held(hosts: Iterable[Host]) -> list[tuple[str, int, Role]]:
    """Who holds which stage, and as what."""
    return [
        (host.name, stage, role)
        for host in hosts
        for role, stages in ((Role.STAGE, host.stages), (Role.DUPLICATE, host.duplicates))
        for stage in stages
    ]
