"""Letters between two workers that may take one of two ways: each arrives once, in its order, whichever way it took.

    worker ---- a link of the two, while it stands ----> worker
      '------- relayed by the initiator, else ----------'

A letter of such a pair has the number of its stream and its own number in it. A stream is of one life of each of the
two: the initiator counts arrivals, and the later of the two numbers is that of the stream. The sender changes its way
only where the order is safe: to the relay with all that is not known to have been taken, from it when all has come.
So whoever receives takes the next letter, drops what it knows, and has nothing to put in order.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from enum import Enum

from shieldwall.core.messages import Peer
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote.letters import Letter

MOST_ADDRESSES = 8
_ADDRESS = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([1-9][0-9]{0,4})")
_LARGEST_PORT = 65535


def stream_number(one: Peer, other: Peer) -> int:
    """Of the stream between two workers in the lives that they have now."""
    return max(one.life, other.life)


def check_addresses(where: str, addresses: tuple[str, ...]) -> None:
    """Whether a few places are named that can be dialled, and nothing else: gRPC would know files and other schemes.

    Raises:
        TransportError: SW-T107.
    """
    if len(addresses) > MOST_ADDRESSES:
        raise garbled(where, f"at most {MOST_ADDRESSES} addresses", f"{len(addresses):,}")
    for address in addresses:
        found = _ADDRESS.fullmatch(address)
        if found is None or int(found[2]) > _LARGEST_PORT:
            raise garbled(where, "HOST:PORT", repr(address)[:80])


class Fit(Enum):
    """What a letter is to its stream."""

    NEXT = "next"
    KNOWN = "known"
    """It has come before, over another way."""
    FOREIGN = "foreign"
    """Of another life of one of the two."""
    TOO_EARLY = "too early"
    """One before it never came: its sender does not number as it should."""


class Stream:
    """What one worker sends to this one.

    Args:
        number: of the stream.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.delivered = 0
        """The last letter that was handed on."""
        self.has_gap = False
        """Whether its sender has left one out."""
        self.placing = asyncio.Lock()
        """Held while a letter is looked at and handed on."""

    def fit(self, letter: Letter) -> Fit:
        """What the letter is to this stream now."""
        if letter.stream != self.number:
            return Fit.FOREIGN
        if letter.serial <= self.delivered:
            return Fit.KNOWN
        return Fit.NEXT if letter.serial == self.delivered + 1 else Fit.TOO_EARLY


class Arrivals:
    """Letters of all ways that wait for the host; whoever puts one more waits where they are too much.

    Args:
        window_bytes: so much may wait.
    """

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._waiting: deque[tuple[Letter, float]] = deque()
        self._held_bytes = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, letter: Letter) -> None:
        """Add one behind the others."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._held_bytes < self._window_bytes)
            self._waiting.append((letter, time.perf_counter()))
            self._held_bytes += letter.packed.nbytes
            self._changed.notify_all()

    async def get(self) -> tuple[Letter, float] | None:
        """The next one and `time.perf_counter()` when it came, waiting for one; None where no more will come."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            letter, arrived_s = self._waiting.popleft()
            self._held_bytes -= letter.packed.nbytes
            self._changed.notify_all()
            return letter, arrived_s

    async def close(self) -> None:
        """No more will come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
