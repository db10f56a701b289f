"""Duties are reassigned, never waived: when a worker is expelled, a spare or the initiator takes what it held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.messages import View
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.recovery.views import without
from shieldwall.run.shield import Shield
from shieldwall.schedule import Host

FrozenOf = Callable[[int], Mapping[str, Tensor]]


class Succession:
    """Moves duties between steps, while nothing is in work.

    Args:
        coordinator: gives the orders.
        shield: makes views.
        spans: the layers of each stage.
        frozen_of: what training leaves alone in a stage.
        hosts: who holds what now.
        spares: workers that hold nothing yet, first come first served.
        on_view: told of every new view.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        shield: Shield,
        spans: Sequence[StageSpan],
        frozen_of: FrozenOf,
        hosts: Sequence[Host],
        spares: Sequence[str],
        on_view: Callable[[View], None],
    ) -> None:
        self._coordinator = coordinator
        self._shield = shield
        self._spans = spans
        self._frozen_of = frozen_of
        self._on_view = on_view
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
                    frozen = self._frozen_of(stage)
                    await self._coordinator.assign(successor, self._spans[stage], states[stage], frozen, role)
                else:
                    self._coordinator.forget(stage, role)
        for stage in _duplicates(before) - _duplicates(self.hosts) - set(leaving.duplicates):
            await self._coordinator.release(stage, Role.DUPLICATE)
        await self._coordinator.stop([culprit])
        return successor

    async def _announce(self) -> None:
        view = self._shield.view(self.hosts)
        self._on_view(view)
        await self._coordinator.announce(view, [host.name for host in self.hosts])


def _duplicates(hosts: Sequence[Host]) -> set[int]:
    return {stage for host in hosts for stage in host.duplicates}
