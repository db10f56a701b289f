"""One peer as the other end of a wire: letters there and back in their order, whatever becomes of the connection.

A link outlives its connections. Each letter has a number and is kept by its sender until the one whom it is for has
taken it; when a connection is broken and made anew, each end says what it has, and the other goes on from there. So a
letter arrives once, or the link is given up.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

from shieldwall.core.errors import TransportError
from shieldwall.core.out_of_memory import is_out_of_memory
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.inbox import Inbox
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.outbox import Outbox

WINDOW_BYTES = 64 << 20
"""What may be under way each way before a sender waits: a second's worth of half a gigabit."""
PART_BYTES = 1 << 20
_REASON_S = 0.5
BEAT_S = 0.25
"""An end that has had nothing to send for so long says that it is there; from the loop that does its work."""


class Lane(Protocol):
    """A stream of pieces each way: one call of gRPC, seen from either end."""

    async def read(self) -> wire.Piece | None:
        """The next piece; None where the other end has closed or the connection is broken."""

    async def write(self, piece: wire.Piece) -> None:
        """Send a piece; waits while the connection is full.

        Raises:
            ConnectionError: the connection is broken.
        """


class Link:
    """Letters to and from one peer.

    Args:
        peer: its name.
        allowed_bytes: how many bytes a message of a kind may have that it sends.
        says_no_room: where there is no memory for a letter, `receive` says so and the link takes nothing more, but it
            goes on sending; else that ends the connection.
    """

    def __init__(self, peer: str, allowed_bytes: Callable[[str], int], *, says_no_room: bool = False) -> None:
        self.peer = peer
        self._says_no_room = says_no_room
        self._no_room = ""
        """Why nothing more is taken."""
        self._outbox = Outbox(WINDOW_BYTES, PART_BYTES)
        self._inbox = Inbox(peer, allowed_bytes, WINDOW_BYTES)
        self._arrived: asyncio.Queue[Letter | None] = asyncio.Queue()
        self._to_send = asyncio.Event()
        self._changed = asyncio.Condition()
        self._taken = 0
        self._acknowledged = 0
        self.closed = False
        self._fault: TransportError | None = None
        """What the peer has sent that it was given up for."""
        self.silence_s = math.inf
        """A connection over which nothing has come for so long is given up."""
        self.heard_s = time.monotonic()
        """`time.monotonic()` when the peer was last heard of."""
        self._echoed_s = time.monotonic()
        self._heard = self._echoed = 0
        """Pieces that were heard here, and those that the peer says it has heard."""
        self.sent_bytes = self.got_bytes = 0
        """Of parts of tensors; the small rest of a letter does not count."""
        self._told_s = 0.0
        """When the peer was last told how much was heard here."""

    @property
    def silent_s(self) -> float:
        """For how long nothing has been heard of the peer, or the peer has heard nothing."""
        return time.monotonic() - min(self.heard_s, self._echoed_s)

    @property
    def taken(self) -> int:
        """The last letter that the peer has taken."""
        return self._outbox.acknowledged

    @property
    def waiting_bytes(self) -> int:
        """Of all letters that the peer has not taken."""
        return self._outbox.waiting_bytes

    @property
    def received(self) -> int:
        """The last letter that came whole and in order."""
        return self._inbox.received

    async def send(self, letter: Letter) -> None:
        """Put a letter on its way; waits while the peer is far behind. After `close` it goes nowhere."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or not self._outbox.full)
        if not self.closed:
            self._outbox.put(letter)
            self._to_send.set()

    async def receive(self) -> Letter | None:
        """The next letter, waiting for one; None once the link is given up.

        Raises:
            MemoryError: there is no room for it, where the link says so.
        """
        letter = await self._arrived.get()
        if letter is None:
            self._arrived.put_nowait(None)
            if self._no_room and not self.closed:
                raise MemoryError(self._no_room)
            return None
        self._inbox.release(letter)
        self._taken += 1
        self._to_send.set()
        return letter

    async def begin(self, received: int) -> None:
        """A connection stands, over which the peer has got what comes before and with letter `received`.

        Raises:
            TransportError: SW-T107; it says that it has what it cannot have, or lacks what is not kept any more.
        """
        self._outbox.go_on_after(received)
        self._inbox.begin_anew()
        self._acknowledged = 0
        self._to_send.set()
        await self._tell()

    async def carry(self, lane: Lane) -> None:
        """Send and receive over a lane until it ends, from either side or because it is broken.

        Raises:
            TransportError: SW-T107, SW-T108; the peer sends what it should not. The link should be given up. The same
                error if it was given up for one while it was carried.
        """
        self.heard_s = self._echoed_s = time.monotonic()
        reading = asyncio.create_task(self._read(lane), name=f"from {self.peer}")
        tasks = {
            reading,
            asyncio.create_task(self._write(lane), name=f"to {self.peer}"),
            asyncio.create_task(self._listen(), name=f"silence of {self.peer}"),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not self.closed:  # whoever writes knows that the connection has ended; whoever reads is told why
                await asyncio.wait({reading}, timeout=_REASON_S)
            done = [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled():
                task.result()
        if self._fault:
            raise self._fault

    async def flushed(self) -> None:
        """Wait until the peer has taken everything and knows what was taken here, or the link is given up."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.closed or (not self._outbox.waiting_bytes and self._acknowledged == self._taken)
            )

    async def close(self) -> None:
        """Give the link up: what is under way is dropped, who waits is told."""
        self.closed = True
        self._arrived.put_nowait(None)
        self._to_send.set()
        await self._tell()

    async def give_up(self, fault: TransportError) -> None:
        """Close the link because of what the peer has sent; whoever carries it is told why."""
        self._fault = fault
        await self.close()

    async def _read(self, lane: Lane) -> None:
        while (piece := await lane.read()) is not None:
            self.heard_s = time.monotonic()
            self._heard += 1
            try:
                letters = await self._take(piece)
            except (MemoryError, RuntimeError) as error:
                if not (self._says_no_room and is_out_of_memory(error)):
                    raise
                self._no_room = str(error).splitlines()[0][:200] if str(error) else "no memory"
                self._arrived.put_nowait(None)
                continue
            for letter in letters:
                self._arrived.put_nowait(letter)

    async def _listen(self) -> None:
        """Until one of the two has heard nothing for too long."""
        while self.silent_s <= self.silence_s:
            await asyncio.sleep(BEAT_S)

    async def _take(self, piece: wire.Piece) -> list[Letter]:
        content = piece.WhichOneof("content")
        if self._no_room and content != "ack":
            return []
        if content == "part":
            number = piece.part.number
            if not self._inbox.knows(number):  # its head comes on another lane
                async with self._changed:
                    await self._changed.wait_for(lambda: self._inbox.knows(number))
            self.got_bytes += piece.ByteSize()
            return self._inbox.take_part(piece.part)
        if content == "head":
            letters = self._inbox.take_head(piece.head)
        elif content == "ack":
            self._outbox.acknowledge(piece.ack.number)
            if piece.ack.heard > self._echoed:
                self._echoed, self._echoed_s = piece.ack.heard, self.heard_s
            letters = []
        else:
            raise garbled(f"a piece from {self.peer}", "a head, a part or an acknowledgement", str(content))
        await self._tell()
        return letters

    async def _write(self, lane: Lane) -> None:
        try:
            while not self.closed:
                piece = self._next_piece()
                if piece is not None:
                    await lane.write(piece)
                    self.sent_bytes += piece.ByteSize() if piece.WhichOneof("content") == "part" else 0
                else:
                    await self._tell()
                    self._to_send.clear()
                    await self._beat_until_there_is_more(lane)
        except ConnectionError:
            return

    async def _beat_until_there_is_more(self, lane: Lane) -> None:
        while True:
            try:
                await asyncio.wait_for(self._to_send.wait(), BEAT_S)
            except TimeoutError:
                await lane.write(self._ack())
            else:
                return

    def _next_piece(self) -> wire.Piece | None:
        if self._taken > self._acknowledged or time.monotonic() - self._told_s > BEAT_S:
            return self._ack()
        return self._outbox.next_piece()

    def _ack(self) -> wire.Piece:
        self._acknowledged, self._told_s = self._taken, time.monotonic()
        return wire.Piece(ack=wire.Ack(number=self._taken, heard=self._heard))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
