"""What follows an alert: the step as it is mended, the whole step again, or the step around the suspects.

repair, none   the court does what there is to do while the step is in work
restart        the step is thrown away and run again, as often as it takes, each slot settled before it is used: so a
               lie is judged where it is told
skip           the step is thrown away and run again without the suspects (the paper's skip layer, design 4.10); where
               something is wrong again, without those who are suspect then as well
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shieldwall.core.ids import INITIATOR
from shieldwall.core.oversight import StepAbandoned
from shieldwall.pipeline.coordinator import Coordinator, StepResult, StepWork
from shieldwall.pipeline.desk import HostsLost
from shieldwall.pipeline.failures import never_settles
from shieldwall.recovery.detour import Detour, detour, suspects
from shieldwall.run.detours import Detours
from shieldwall.schedule import Host, Plan


class Ground(Protocol):
    """Who holds what now, and the plans for that."""

    @property
    def hosts(self) -> Sequence[Host]:
        """Who holds what."""

    def training(self) -> Plan:
        """The plan of the next step."""

    def careful(self) -> Plan:
        """The plan of a step in which nothing is used before it is settled."""

    def around(self, found: Detour) -> Plan:
        """The plan of a step around some hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a step came to its commit."""

    result: StepResult
    abandoned: int = 0
    """Attempts that were thrown away before because something in them was wrong."""
    broken_off: int = 0
    """Attempts that were broken off before because a host was lost."""
    left_out: tuple[str, ...] = ()
    """Hosts that had no part in what was committed."""
    bypassed: tuple[int, ...] = ()
    """Their stages."""


class Responder:
    """Sees each step through.

    Args:
        coordinator: plays steps.
        ground: who holds what.
        topology: `chain` or `star`; says who is suspect.
        attempts: how often a step is tried.
        detours: leads steps around suspects; None where the whole step is run again.
        between: called after an attempt was thrown away, while nothing is in work.
        on_loss: lets others hold what lost hosts held; called while nothing is in work.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        ground: Ground,
        *,
        topology: str,
        attempts: int,
        detours: Detours | None,
        between: Callable[[], Awaitable[None]],
        on_loss: Callable[[], Awaitable[None]],
    ) -> None:
        self._coordinator = coordinator
        self._ground = ground
        self._topology = topology
        self._attempts = attempts
        self._detours = detours
        self._between = between
        self._on_loss = on_loss

    async def step(self, work: StepWork) -> Course:
        """Train one step and commit it.

        Raises:
            NonFiniteError: SW-N101; nothing of the step has changed a weight.
            RunError: SW-V203; it was tried often enough.
        """
        left_out: frozenset[str] = frozenset()
        abandoned = broken_off = 0
        while abandoned < self._attempts:
            try:
                result = await self._try(work, left_out)
            except StepAbandoned as found:
                abandoned += 1
                await self._between()
                left_out = self._extend(left_out, found)
                work = replace(work, plan=self._ground.careful())
                continue
            except HostsLost:
                broken_off += 1
                await self._on_loss()
                work = replace(work, plan=self._ground.training())
                continue
            return Course(
                result=result,
                abandoned=abandoned,
                broken_off=broken_off,
                left_out=tuple(sorted(left_out)),
                bypassed=detour(self._ground.hosts, left_out).bypassed,
            )
        raise never_settles(work.step, self._attempts)

    async def _try(self, work: StepWork, left_out: Collection[str]) -> StepResult:
        if self._detours is None or not left_out:
            return await self._coordinator.step(work)
        return await self._detours.step(work, self._ground.hosts, left_out, self._ground.around)

    def _extend(self, left_out: frozenset[str], found: StepAbandoned) -> frozenset[str]:
        """Who is left out from now on: whoever is suspect among those who took part, and who complained of them."""
        if self._detours is None:
            return left_out
        there = detour(self._ground.hosts, left_out).hosts
        near = (suspects(there, stage, self._topology) for stage in found.stages)
        return left_out.union(*near, found.complainants - {INITIATOR})
