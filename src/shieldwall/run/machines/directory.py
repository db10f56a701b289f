"""The initiator's directory: which workers are there, where other workers can dial them, and which way letters go.

    who comes, goes or is sent away  ->  Peers, to all who are there, before any order that follows from it
    Ways, of each worker             ->  `shieldwall workers`, and the run's notes

It is the workers' only word for who may talk to them. It exists in a chain alone: in a star all letters pass the
initiator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from shieldwall.core.ids import DIRECTORY
from shieldwall.core.messages import Message, Peer, Peers, Ways
from shieldwall.run.machines.status import natural
from shieldwall.transport.codec import pack
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.direct import NO_LISTEN
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.streams import MOST_ADDRESSES, check_addresses

DIRECT = "direct"
_SAY_AGAIN_S = 10.0
"""One way is not spoken of more often than that."""
_LOOK_S = 1.0
_LONGEST_WHY = 120
_FEW = 12

Pair = tuple[str, str]


class Directory:
    """One run's.

    Args:
        silence_s: a line between two workers over which nothing has come for so long is given up.
        tell: told which way letters go, in words.
    """

    def __init__(self, silence_s: float, tell: Callable[[str], None]) -> None:
        self._silence_s = silence_s
        self._tell = tell
        self._lives = 0
        self._listens: dict[str, tuple[str, ...]] = {}
        self._there: dict[str, Peer] = {}
        self._reported: dict[str, Ways] = {}
        self._said: dict[Pair, tuple[str, float]] = {}
        self._begun = False

    def open(self, hub: Hub) -> None:
        """Take post; nothing is done before."""
        self._hub = hub
        self._end = hub.join(DIRECTORY)

    async def introduce(self, name: str, hello: wire.Hello, address: str) -> int:
        """A worker greets, from where it dials.

        Raises:
            TransportError: SW-T107; it names places that cannot be dialled.
        """
        told = tuple(hello.listens)
        check_addresses(f"the greeting of {name}", told)
        self._listens[name] = _with_the_one_seen(told, address)
        return 0

    def admit(self, name: str) -> None:
        """A worker has come, or come anew."""
        self._lives += 1
        self._reported.pop(name, None)
        self._there[name] = Peer(self._lives, self._listens.get(name, ()))
        self._tell_all()

    def forget(self, name: str) -> None:
        """A worker is gone: nobody is to talk to it any more."""
        self._reported.pop(name, None)
        if self._there.pop(name, None):
            self._tell_all()

    def goes_directly(self, name: str, other: str) -> bool:
        """Whether letters of one worker to another may go past the initiator, whatever the two say."""
        return name in self._there and other in self._there and bool(self._there[other].addresses)

    def ways_of(self, name: str) -> dict[str, str]:
        """How the letters of one worker go to the others, by its own word: "direct", or "relayed: " and why."""
        report = self._reported.get(name)
        found: dict[str, str] = {}
        for other in sorted(self._there.keys() - {name}, key=natural) if name in self._there else ():
            if not self._there[other].addresses:
                found[other] = f"relayed: {NO_LISTEN}"
            elif report and other in report.direct:
                found[other] = DIRECT
            elif report and other in report.relayed:
                found[other] = f"relayed: {_plain(report.relayed[other])}"
        return found

    async def settle(self, within_s: float) -> None:
        """Wait until everybody who is there has said how it reaches those who listen, or time is over; say it all."""
        ends_s = time.monotonic() + within_s
        while not self._is_settled() and time.monotonic() < ends_s:
            await asyncio.sleep(0.02)
        ways = self._ways()
        now_s = time.monotonic()
        self._said = {pair: (way, now_s) for pair, way in ways.items()}
        self._begun = True
        if ways:
            self._tell(summary(ways))

    async def watch(self) -> None:
        """Until cancelled: hear what workers say, and say what has changed since the run began."""
        while True:
            try:
                message = await asyncio.wait_for(self._end.receive(), _LOOK_S)
            except TimeoutError:
                pass
            else:
                self._hear(self._end.sender, message)
            self._say_changes()

    def _hear(self, sender: str, message: Message) -> None:
        if isinstance(message, Ways) and message.host == sender and sender in self._there:
            self._reported[sender] = message

    def _tell_all(self) -> None:
        news = Peers(peers=dict(self._there), silence_s=self._silence_s)
        packed = pack(news)
        for name, link in self._hub.links.items():
            if name in self._there:
                link.put(Letter(DIRECTORY, name, packed))

    def _ways(self) -> dict[Pair, str]:
        names = sorted(self._there, key=natural)
        return {(name, other): way for name in names for other, way in self.ways_of(name).items()}

    def _is_settled(self) -> bool:
        count = len(self._there)
        return len(self._ways()) == count * (count - 1)

    def _say_changes(self) -> None:
        if not self._begun:
            return
        now_s = time.monotonic()
        for (name, other), way in self._ways().items():
            before, said_s = self._said.get((name, other), ("", -_SAY_AGAIN_S))
            if way != before and now_s - said_s >= _SAY_AGAIN_S:
                self._said[name, other] = way, now_s
                self._tell(f"{name} -> {other} {way}")


def summary(ways: Mapping[Pair, str]) -> str:
    """All ways in words: those of one worker that are alike together."""
    kinds = set(ways.values())
    if len(kinds) == 1:
        return f"between workers: all {kinds.pop()}"
    alike: dict[tuple[str, str], list[str]] = {}
    for (name, other), way in ways.items():
        alike.setdefault((name, way), []).append(other)
    return "; ".join(f"{name} -> {', '.join(others)} {way}" for (name, way), others in alike.items())


def relayed_in_words(relayed_bytes: Mapping[Pair, int]) -> str:
    """What the initiator has passed on, by its own count; of many ways the first few by name."""
    pairs = sorted(relayed_bytes.items(), key=lambda item: (natural(item[0][0]), natural(item[0][1])))
    if not pairs:
        return "nothing"
    words = [f"{name} -> {other} {size:,} bytes" for (name, other), size in pairs[:_FEW]]
    if len(pairs) > _FEW:
        rest = sum(size for _, size in pairs[_FEW:])
        words.append(f"{len(pairs) - _FEW} more ways {rest:,} bytes")
    return "; ".join(words)


def _with_the_one_seen(told: Sequence[str], address: str) -> tuple[str, ...]:
    """What a worker says of where it listens, and behind it the host that it dials from, which it may not know."""
    if not told:
        return ()
    seen = f"{address.rpartition(':')[0]}:{told[0].rpartition(':')[2]}"
    return (*told,) if seen in told or len(told) == MOST_ADDRESSES else (*told, seen)


def _plain(why: str) -> str:
    """The words of a worker, as far as they can be shown."""
    return "".join(filter(str.isprintable, why))[:_LONGEST_WHY]
