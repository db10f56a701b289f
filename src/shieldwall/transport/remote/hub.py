"""The initiator's end of everything: its own parties, and a link to each worker. Whoever has no way to another is
relayed here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from shieldwall.core.errors import TransportError
from shieldwall.core.messages import Message
from shieldwall.transport.base import name_taken, unknown_peer
from shieldwall.transport.codec import pack, unpack
from shieldwall.transport.queued import QueuedEndpoint
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passages import Passages

Fault = Callable[[str, TransportError], None]
"""Told who sent what goes nowhere, and what was wrong with it."""

UNREADABLE = frozenset({"SW-T103", "SW-T107"})
"""Of a message that no honest end of this version sends: a link over which one comes is given up."""


class HubEndpoint(QueuedEndpoint):
    """The end of one of the initiator's own parties."""

    def __init__(self, name: str, hub: Hub) -> None:
        super().__init__(name)
        self._hub = hub

    async def send(self, destination: str, message: Message) -> None:
        await self._hub.send(self._name, destination, message)


class Hub:
    """Parties of the initiator and links to workers, by name.

    Args:
        may_pass: whether what one party sends to another may pass; in a star workers reach the centre alone.
        on_fault: told of everything that came and may not go where it says.
        on_attached: told who has come, or come anew without what was under way before.
        on_detached: told who is gone.
    """

    def __init__(
        self,
        may_pass: Callable[[str, str], bool],
        on_fault: Fault,
        on_attached: Callable[[str], Awaitable[None]] | None = None,
        on_detached: Callable[[str], None] | None = None,
    ) -> None:
        self._may_pass = may_pass
        self._on_fault = on_fault
        self._on_attached = on_attached
        self._on_detached = on_detached
        self._own: dict[str, HubEndpoint] = {}
        self._links: dict[str, Link] = {}
        self._gone: set[str] = set()
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self.relayed_bytes: dict[tuple[str, str], int] = {}
        """What passed here from one worker to another."""
        self.passages = Passages()
        self.held_up: dict[str, str] = {}
        """Workers whose messages wait here, each with the other who does not take what is for it."""

    def has_joined(self, name: str) -> bool:
        """Whether one of the initiator's own parties is called that."""
        return name in self._own

    @property
    def links(self) -> Mapping[str, Link]:
        """The links that stand, by worker."""
        return self._links

    def join(self, name: str) -> HubEndpoint:
        """The endpoint of one of the initiator's own parties.

        Raises:
            TransportError: SW-T102; the name is taken.
        """
        if name in self._own or name in self._links:
            raise name_taken(name, {*self._own, *self._links})
        self._own[name] = HubEndpoint(name, self)
        return self._own[name]

    def miss(self, names: Iterable[str]) -> None:
        """These may be spoken to and are not there; what is for them is dropped until they come."""
        self._gone.update(name for name in names if name not in self._links)

    async def attach(self, link: Link) -> None:
        """A worker has come, or come anew: what it sends is passed on from now on."""
        await self.detach(link.peer)
        self._gone.discard(link.peer)
        self._links[link.peer] = link
        self._pumps[link.peer] = asyncio.create_task(self._pump(link), name=f"pump of {link.peer}")
        if self._on_attached:
            await self._on_attached(link.peer)

    async def detach(self, name: str) -> None:
        """A worker is gone: what is under way to it is dropped, what it has sent and nobody has taken too."""
        link = self._links.pop(name, None)
        if link is None:
            return
        self._gone.add(name)
        if self._on_detached:
            self._on_detached(name)
        pump = self._pumps.pop(name)
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        await link.close()

    def leave_out(self, name: str) -> None:
        """Somebody who is not there is not waited for: what is for it is dropped."""
        self._gone.add(name)

    async def close(self) -> None:
        """Let go of all workers."""
        for name in list(self._links):
            await self.detach(name)

    async def send(self, source: str, destination: str, message: Message) -> None:
        """Hand over a message of one of the initiator's own parties; what is for a worker that is gone is dropped.

        Raises:
            TransportError: SW-T101; nobody was ever called that.
        """
        self.passages.note(source, destination, message)
        if destination in self._own:
            self._own[destination].accept(source, message)
        elif destination in self._links:
            await self._links[destination].send(Letter(source, destination, pack(message)))
        elif destination not in self._gone:
            raise unknown_peer(destination, {*self._own, *self._links})

    async def _pump(self, link: Link) -> None:
        while (letter := await link.receive()) is not None:
            try:
                await self._pass_on(link.peer, letter)
            except TransportError as error:
                if error.code in UNREADABLE:
                    await link.give_up(error)
                else:
                    self._on_fault(link.peer, error)

    async def _pass_on(self, source: str, letter: Letter) -> None:
        """What a worker sent goes where it says, under the name of the link that it came over."""
        destination = letter.destination
        if not self._may_pass(source, destination):
            raise unknown_peer(destination, {name for name in self._own if self._may_pass(source, name)})
        message = unpack(letter.packed.kind, letter.packed.body, letter.packed.tensors)  # what is none goes nowhere
        self.passages.note(source, destination, message)
        if destination in self._own:
            self._own[destination].accept(source, message)
        elif destination in self._links:
            way = source, destination
            self.relayed_bytes[way] = self.relayed_bytes.get(way, 0) + letter.packed.nbytes
            self.held_up[source] = destination
            try:
                await self._links[destination].send(replace(letter, source=source))
            finally:
                self.held_up.pop(source, None)
        elif destination not in self._gone:
            raise unknown_peer(destination, {*self._own, *self._links})
