"""Hears whether workers are there, greets who comes, and tells the coordinator who is gone and who is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from statistics import median

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Came, Gone, Welcome
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.run.machines.taking import Taking
from shieldwall.schedule import StageCosts
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.server import WireServer

_LOOK_S = 0.1
_LEAST_SILENCE_S = 1.8
_SLOTS = 3
_STOOD_STILL_S = 1.0
"""Who sleeps so much longer between two looks than it wanted has yet to hear what was said meanwhile."""
_REDIAL_S = 15.0
"""So long workers have to dial again that heard nothing of an initiator that stood still."""


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
        deadlines: of answers; say for how long one may take nothing of what is sent to it.
        on_greeted: told who has come, before the coordinator is.
    """

    def __init__(
        self, welcome: Welcome, deadlines: Deadlines, on_greeted: Callable[[str], None] = lambda _: None
    ) -> None:
        self._welcome = welcome
        self._on_greeted = on_greeted
        self._taking = Taking(deadlines)
        self._patient_until_s = 0.0
        """By `time.monotonic()`: before that nobody's silence counts."""
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
        self._on_greeted(name)
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

    async def cut_off(self, name: str) -> None:
        """End the connections of one that the coordinator counts as lost already; it may dial again."""
        self._there.discard(name)
        await self._server.drop(name)

    async def watch(self) -> None:
        """Until cancelled: tell of each that has been silent for too long, connected or not, or takes nothing, or whose
        link was ended for what it sent.

        An initiator that has stood still itself gives everybody the time to dial again.
        """
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(_LOOK_S)
            now_s = time.monotonic()
            self._note_standing_still(now_s - before_s - _LOOK_S, now_s)
            if self._hub.has_joined(COORDINATOR):
                await self._look(patient=now_s < self._patient_until_s)

    def _note_standing_still(self, stood_s: float, now_s: float) -> None:
        if stood_s > _STOOD_STILL_S:
            silence_s = self._welcome.silence_s
            patient_s = _REDIAL_S if stood_s > silence_s / 2 else silence_s
            self._patient_until_s = max(self._patient_until_s, now_s + patient_s)

    async def _look(self, *, patient: bool) -> None:
        for name in sorted(self._there):
            link = self._hub.links.get(name)
            if link is None or link.closed:
                await self._say_gone(name, 0.0)
                continue
            idle_s = self._taking.idle_s(link)
            if (link.silent_s > self._welcome.silence_s and not patient) or self._taking.is_over(idle_s):
                await self._say_gone(name, max(link.silent_s, idle_s))

    async def _say_gone(self, name: str, silent_s: float) -> None:
        self._there.discard(name)
        await self._server.drop(name)
        await self._tell(Gone(host=name, silent_s=silent_s))

    async def _tell(self, news: Gone | Came) -> None:
        """Before the run begins there is nobody to tell, and nothing that could be lost."""
        if self._hub.has_joined(COORDINATOR):
            await self._hub.send(COORDINATOR, COORDINATOR, news)
