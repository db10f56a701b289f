"""Letting stages and duplicates go over from one host to another, and telling everybody who holds what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from shieldwall.core.ids import Role
from shieldwall.core.messages import StageState, View
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.run.shield import Shield
from shieldwall.schedule import Host


@dataclass(frozen=True, slots=True)
class Handover:
    """What moving duties takes, between steps or while nothing of one is in work.

    Args:
        coordinator: gives the orders.
        shield: makes views.
        spans: the layers of each stage.
        frozen_of: what training leaves alone in a stage.
        on_view: told of every new view.
    """

    coordinator: Coordinator
    shield: Shield
    spans: Sequence[StageSpan]
    frozen_of: Callable[[int], Mapping[str, Tensor]]
    on_view: Callable[[View], None]

    async def begin(self, view: View, hosts: Sequence[Host]) -> None:
        """As `announce`, before anybody holds anything."""
        self.on_view(view)
        await self.coordinator.begin(view, [host.name for host in hosts])

    async def announce(self, view: View, hosts: Sequence[Host]) -> None:
        """Tell the attackers of the run, if it has any, and then `hosts`."""
        self.on_view(view)
        await self.coordinator.announce(view, [host.name for host in hosts])

    async def hand(self, host: str, stage: int, state: StageState, role: Role) -> None:
        """Let `host` hold a stage or its duplicate from now on, in this state."""
        await self.coordinator.assign(host, self.spans[stage], state, self.frozen_of(stage), role)
        self.coordinator.tell_still_there()
