"""Where messages leave a host: past its hooks, with what its guard wants said, and in a star all to the server."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.core.hooks import Hook
from shieldwall.core.messages import Message
from shieldwall.pipeline.guard import Guard
from shieldwall.pipeline.server import addressed
from shieldwall.schedule import Topology
from shieldwall.transport import Endpoint


class Door:
    """A host's way out.

    Args:
        endpoint: its end of the transport.
        hooks: have a last look at every message.
        guard: whose notes are sent first, in their order.
        topology: of the run.
    """

    def __init__(self, endpoint: Endpoint, hooks: Sequence[Hook], guard: Guard | None, topology: Topology) -> None:
        self.name = endpoint.name
        self._endpoint = endpoint
        self._hooks = hooks
        self._guard = guard
        self._topology = topology

    async def send(self, destination: str, message: Message) -> None:
        """Send what the guard wants said, then `message`."""
        await self.send_notes()
        await self._post(destination, message)

    async def send_notes(self) -> None:
        """Send what the guard wants said."""
        if self._guard:
            for destination, note in self._guard.take_notes():
                await self._post(destination, note)

    async def _post(self, destination: str, message: Message) -> None:
        posted: Message | None = message
        for hook in self._hooks:
            if posted is not None:
                posted = await hook.before_post(destination, posted)
        if posted is not None:
            to, form = addressed(destination, posted) if self._topology == "star" else (destination, posted)
            await self._endpoint.send(to, form)
