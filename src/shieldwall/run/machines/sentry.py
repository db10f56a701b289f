"""Watches whose connection stands, greets who comes, and tells the coordinator who is gone and who is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Came, Gone, Welcome
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.server import WireServer

_LOOK_S = 0.1
GONE_S = 1.0
"""A worker without a connection for so long is gone. The keepalive needs two seconds to find a connection dead whose
other end is stopped or cut off; one whose process has ended is closed at once. A line that breaks is dialled anew in a
fraction of this."""


class Sentry:
    """One run's.

    Args:
        welcome: what a worker is told first.
        names: who takes part; nobody else is greeted.
    """

    def __init__(self, welcome: Welcome, names: Sequence[str]) -> None:
        self._welcome = welcome
        self._names = frozenset(names)
        self._there: dict[str, float] = {}
        """Who takes part now, and `time.monotonic()` when its connection was last seen."""

    def stand(self, hub: Hub, server: WireServer) -> None:
        """Take post; nothing is done before."""
        self._hub = hub
        self._server = server

    async def greet(self, name: str) -> None:
        """Somebody has come, or come anew without what it held."""
        if name not in self._names:
            return
        if name in self._there:
            await self._tell(Gone(host=name, silent_s=time.monotonic() - self._there[name]))
        self._there[name] = time.monotonic()
        await self._hub.send(COORDINATOR, name, self._welcome)
        await self._tell(Came(host=name))

    async def watch(self) -> None:
        """Until cancelled: look whose connection stands, and tell of each that has not stood for too long."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now_s = time.monotonic()
            self._there |= {name: now_s for name in self._there if self._server.is_connected(name)}
            if not self._hub.has_joined(COORDINATOR):
                continue
            gone = {name: now_s - seen_s for name, seen_s in self._there.items() if now_s - seen_s > GONE_S}
            for name, silent_s in gone.items():
                del self._there[name]
                await self._server.drop(name)
                await self._tell(Gone(host=name, silent_s=silent_s))

    async def _tell(self, news: Gone | Came) -> None:
        """Before the run begins there is nobody to tell, and nothing that could be lost."""
        if self._hub.has_joined(COORDINATOR):
            await self._hub.send(COORDINATOR, COORDINATOR, news)
