"""A worker's end where workers talk directly: letters go over a link of the two where the other one listens.

Who is there, in which life and where it listens, the initiator's directory says, and nobody else. Who is not in it any
more is neither dialled nor let in, and what stands to it is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import grpc

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import DIRECTORY
from shieldwall.core.messages import Discarded, Message, NonFinite, Peer, Peers, Played, Ways
from shieldwall.transport.codec import pack, unpack
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.dialer import INITIATORS
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.link import WINDOW_BYTES, Link
from shieldwall.transport.remote.refusals import link_lost, refused
from shieldwall.transport.remote.streams import Arrivals, Fit, Stream, check_addresses, stream_number
from shieldwall.transport.remote.tally import Tally
from shieldwall.transport.remote.way import Patience, Way

NO_LISTEN = "no --listen"
_ACQUAINTED_S = 2.0
"""For how long a caller waits whom the directory has yet to name."""
_SETTLED_S = 2.0
_ENDS_WORK = (Played, Discarded, NonFinite)
"""After these the coordinator may order other work; what others are sent of this work is to be there before."""

OpenChannelTo = Callable[[str, str], grpc.aio.Channel]
"""A channel to a worker, by name, at an address: nobody else is let through the handshake there."""


class DirectEndpoint:
    """A worker's end of its link to the initiator, and of its links to other workers.

    Args:
        name: the worker's.
        link: to the initiator.
        open_channel: to workers.
        tell: told which way letters to others go, in words.
        patience: with links that cannot be had.
    """

    def __init__(
        self,
        name: str,
        link: Link,
        open_channel: OpenChannelTo,
        tell: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        self._name = name
        self._link = link
        self._open_channel = open_channel
        self._tell = tell
        self._patience = patience or Patience()
        self._arrivals = Arrivals(WINDOW_BYTES)
        self._dropped = Tally(tell)
        self._sender = ""
        self._arrived_s = 0.0
        self._peers: dict[str, Peer] = {}
        self._acquainted = asyncio.Condition()
        self._streams: dict[str, Stream] = {}
        self._ways: dict[str, Way] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}
        self._cut: Callable[[str], Awaitable[None]] | None = None
        self.direct_bytes: dict[str, int] = {}
        """What came directly, by sender."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def sender(self) -> str:
        return self._sender

    @property
    def arrived_s(self) -> float:
        return self._arrived_s

    @property
    def ways(self) -> dict[str, str]:
        """How letters go to each other worker: "direct", or "relayed: " and why; left out while it is not known."""
        found = {name: "" for name in self._peers if name != self._name}
        for name in found:
            way = self._ways.get(name)
            if way is None:
                found[name] = f"relayed: {NO_LISTEN}"
            elif way.tried:
                found[name] = "direct" if way.direct else f"relayed: {way.why}"
        return {name: way for name, way in found.items() if way}

    async def send(self, destination: str, message: Message) -> None:
        if isinstance(message, _ENDS_WORK):
            await self._settle()
        letter = Letter(self._name, destination, pack(message))
        way = self._ways.get(destination)
        if way is None:
            await self._link.send(letter)
        else:
            await way.send(letter)

    async def receive(self) -> Message:
        """The next message; what another worker sent and nobody can read is dropped.

        Raises:
            TransportError: SW-T107, what the initiator sent cannot be read; SW-T112, the link is given up.
        """
        while (found := await self._arrivals.get()) is not None:
            letter, self._arrived_s = found
            self._sender = letter.source
            try:
                return unpack(letter.packed.kind, letter.packed.body, letter.packed.tensors)
            except TransportError as error:
                if letter.source in INITIATORS:
                    raise
                self._dropped.count("dropped", letter.source, error)
        raise link_lost("the link was given up")

    async def keep(self) -> None:
        """Take what comes from the initiator, until that link is given up.

        Raises:
            TransportError: SW-T107, the directory makes no sense; SW-T112, the link is given up.
            MemoryError: there is no room for what comes.
        """
        while (letter := await self._link.arrive()) is not None:
            if letter.source == DIRECTORY:
                await self._look_up(letter)
            elif letter.serial:
                await self._place(letter)
            else:
                await self._arrivals.put(letter)
            self._link.take(letter)
        await self._arrivals.close()
        raise link_lost("the link was given up")

    def cuts_with(self, cut: Callable[[str], Awaitable[None]]) -> None:
        """What ends the links that a worker has dialled to this one; there are none before."""
        self._cut = cut

    async def introduce(self, name: str, hello: wire.Hello, _: str) -> int:
        """Another worker dials: the number of its last letter that is here, whatever way it came.

        Raises:
            TransportError: SW-T109; the directory does not name it, or in another life.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._acquaint(name, hello.stream), _ACQUAINTED_S)
        stream = self._streams.get(name)
        if stream is None or stream.number != hello.stream:
            raise refused(self._name, f'the run\'s directory does not name "{name}", or not in this life')
        return stream.delivered

    async def take_direct(self, name: str, letter: Letter) -> None:
        """A letter has come over a link that `name` has dialled, and is from nobody else.

        Raises:
            TransportError: SW-T107; it is for somebody else, or not numbered.
        """
        if letter.destination != self._name or not letter.serial:
            raise garbled(
                f"a letter from {name}", f"one for {self._name} with a number", f"one for {letter.destination}"
            )
        self.direct_bytes[name] = self.direct_bytes.get(name, 0) + letter.packed.nbytes
        await self._place(replace(letter, source=name))

    async def close(self) -> None:
        """Let go of all ways."""
        for name in list(self._ways):
            await self._close_way(name)

    async def _acquaint(self, name: str, number: int) -> None:
        async with self._acquainted:
            await self._acquainted.wait_for(lambda: name in self._streams and self._streams[name].number >= number)

    async def _place(self, letter: Letter) -> None:
        """Hand on what is next of its stream; what has come before over another way is dropped."""
        stream = self._streams.get(letter.source)
        if stream is None:
            return
        async with stream.placing:
            fit = stream.fit(letter)
            if fit is Fit.NEXT:
                await self._arrivals.put(letter)
                stream.delivered = letter.serial
        if fit is Fit.TOO_EARLY and not stream.has_gap:
            stream.has_gap = True
            self._tell(f"dropped, from {letter.source}: letter {letter.serial}, since one before it never came")

    async def _settle(self) -> None:
        """Wait, though not for long, until others have what was sent to them directly."""
        waiting = [asyncio.create_task(way.settle()) for way in self._ways.values() if way.direct]
        if waiting:
            await asyncio.wait(waiting, timeout=_SETTLED_S)
        for each in waiting:
            each.cancel()

    # who is there

    async def _look_up(self, letter: Letter) -> None:
        found = unpack(letter.packed.kind, letter.packed.body, letter.packed.tensors)
        if not isinstance(found, Peers) or self._name not in found.peers:
            raise garbled("the run's directory", f"Peers with {self._name} among them", type(found).__name__)
        for name, place in found.peers.items():
            check_addresses(f"Peers, {name}", place.addresses)
        changed = [name for name in {*self._peers, *found.peers} if self._peers.get(name) != found.peers.get(name)]
        own_is_new = self._name in changed
        self._peers = dict(found.peers)
        for name in sorted(self._peers.keys() | set(changed) if own_is_new else changed):
            if name != self._name:
                await self._meet_anew(name, found.silence_s)
        async with self._acquainted:
            self._acquainted.notify_all()
        self._say()

    async def _meet_anew(self, name: str, silence_s: float) -> None:
        """Somebody has come, or come anew, or is gone: nothing of before holds."""
        await self._close_way(name)
        self._streams.pop(name, None)
        self._told.pop(name, None)
        if self._cut:
            await self._cut(name)
        place = self._peers.get(name)
        if place is None:
            return
        number = stream_number(self._peers[self._name], place)
        self._streams[name] = Stream(number)
        if not place.addresses:
            return
        self._ways[name] = Way(
            name,
            place,
            number,
            relay=self._link,
            open_channel=lambda address: self._open_channel(name, address),
            silence_s=silence_s,
            patience=self._patience,
            on_change=self._say,
        )
        self._keeping[name] = asyncio.create_task(self._ways[name].keep(), name=f"way to {name}")

    async def _close_way(self, name: str) -> None:
        way, keeping = self._ways.pop(name, None), self._keeping.pop(name, None)
        if way and keeping:
            await way.close()
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def _say(self) -> None:
        """Tell the log and the run's directory which way letters go, where that is another than before."""
        known = self.ways
        if self._ways:
            for name, way in _changes(known.items(), self._told):
                self._tell(f"to {name}: {way}")
        if all(way.tried for way in self._ways.values()):
            of_listeners = {name: known[name] for name in self._ways}
            news = Ways(
                host=self._name,
                direct=tuple(name for name, way in of_listeners.items() if way == "direct"),
                relayed={name: way.removeprefix("relayed: ") for name, way in of_listeners.items() if way != "direct"},
            )
            self._link.put(Letter(self._name, DIRECTORY, pack(news)))


def _changes(now: Iterable[tuple[str, str]], told: dict[str, str]) -> list[tuple[str, str]]:
    """What is another than `told`, which knows it then."""
    changed = [(name, way) for name, way in now if told.get(name) != way]
    told.update(changed)
    return changed
