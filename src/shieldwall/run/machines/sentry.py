"""Hears whether workers are there, greets who comes, and tells the coordinator who is gone and who is back."""

from __future__ import annotations

import asyncio
from statistics import median

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Came, Gone, Welcome
from shieldwall.schedule import StageCosts
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.server import WireServer

_LOOK_S = 0.1
_LEAST_SILENCE_S = 1.8
_SLOTS = 3


def allowed_silence_s(costs: StageCosts) -> float:
    """For how long a worker may be silent before it counts as gone: three median slots, and never less than 1.8 s.

    A slot is a pass of a stage, forward or backward, as measured for the plan. A worker beats every quarter of a second
    from the loop that does its work; what that loop does in one piece is shorter than three slots.
    """
    return max(_LEAST_SILENCE_S, _SLOTS * median([*costs.forward_s, *costs.backward_s]))


class Sentry:
    """One run's.

    Args:
        welcome: what a worker is told first; says for how long one may say nothing before it counts as gone.
    """

    def __init__(self, welcome: Welcome) -> None:
        self._welcome = welcome
        self._there: set[str] = set()
        """Who takes part now."""

    def stand(self, hub: Hub, server: WireServer) -> None:
        """Take post; nothing is done before."""
        self._hub = hub
        self._server = server

    async def greet(self, name: str) -> None:
        """Somebody has come, or come anew without what it held."""
        if name in self._there:
            await self._tell(Gone(host=name, silent_s=0.0))
        self._there.add(name)
        await self._hub.send(COORDINATOR, name, self._welcome)
        await self._tell(Came(host=name))

    async def dismiss(self, name: str, *, holds: bool) -> None:
        """Somebody was sent away; the coordinator is told where it `holds` what others have to take over."""
        if name in self._there and holds:
            await self._tell(Gone(host=name, silent_s=0.0))
        self._there.discard(name)

    async def lose(self, name: str, kind: str) -> bool:
        """Somebody says that it cannot go on: it is gone, and why is told. False where it was gone before."""
        if name not in self._there:
            return False
        self._there.discard(name)
        await self._server.drop(name)
        await self._tell(Gone(host=name, silent_s=0.0, kind=kind))
        return True

    async def watch(self) -> None:
        """Until cancelled: tell of each that has been silent for too long, or whose link was ended for what it sent."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._hub.has_joined(COORDINATOR):
                continue
            for name in sorted(self._there):
                link = self._hub.links.get(name)
                stands = link is not None and not link.closed
                silent_s = link.silent_s if link else 0.0
                if stands and silent_s <= self._welcome.silence_s:
                    continue
                self._there.discard(name)
                await self._server.drop(name)
                await self._tell(Gone(host=name, silent_s=silent_s))

    async def _tell(self, news: Gone | Came) -> None:
        """Before the run begins there is nobody to tell, and nothing that could be lost."""
        if self._hub.has_joined(COORDINATOR):
            await self._hub.send(COORDINATOR, COORDINATOR, news)
