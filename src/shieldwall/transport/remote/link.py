"""One peer as the other end of a wire: letters there and back in their order, whatever becomes of the connection.

A link outlives its connections. Each letter has a number and is kept by its sender until the one whom it is for has
taken it; when a connection is broken and made anew, each end says what it has, and the other goes on from there. So a
letter arrives once, or the link is given up.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from shieldwall.core.errors import TransportError
from shieldwall.core.out_of_memory import is_out_of_memory
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.inbox import Inbox
from shieldwall.transport.remote.letters import Letter
from shieldwall.transport.remote.outbox import Outbox
from shieldwall.transport.remote.pieces import AnyPiece, Part, as_part, nbytes_of

WINDOW_BYTES = 64 << 20
"""What may be under way each way before a sender waits: a second's worth of half a gigabit."""
PART_BYTES = 1 << 20
BUNDLE_BYTES = 32 << 10
"""Pieces that are there go as one message until it has so many bytes; more would wait for each other on a thin line."""
_ACK_S = 0.02
_ACK_BYTES = WINDOW_BYTES // 16
"""That something was taken is said with whatever else is sent; if nothing is, after so long or so many bytes."""
_REASON_S = 0.5
BEAT_S = 0.25
"""An end that has had nothing to send for so long says that it is there; from the loop that does its work."""


class Lane(Protocol):
    """A stream of bundles of pieces each way: one call of gRPC, seen from either end."""

    async def read(self) -> Sequence[AnyPiece] | None:
        """The next pieces, one or more; None where the other end has closed or the connection is broken."""

    async def write(self, pieces: Sequence[AnyPiece]) -> None:
        """Send one piece or more together; waits while the connection is full.

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
        self._lanes = 0
        self._taken_s = 0.0
        """When the first of the letters was taken that are not acknowledged."""
        self._taken_bytes = 0
        """Of the letters that were taken and are not acknowledged."""
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

    @property
    def connected(self) -> bool:
        """Whether something carries it now."""
        return self._lanes > 0

    @property
    def unacknowledged(self) -> list[Letter]:
        """Letters that the peer is not known to have taken, in their order."""
        return self._outbox.kept

    async def send(self, letter: Letter) -> bool:
        """Put a letter on its way; waits while the peer is far behind. After `close` it goes nowhere: False."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or not self._outbox.full)
        self.put(letter)
        return not self.closed

    def put(self, letter: Letter) -> None:
        """As `send`, without waiting: for a few words of the transport's own."""
        if not self.closed:
            self._outbox.put(letter)
            self._to_send.set()

    async def receive(self) -> Letter | None:
        """The next letter, waiting for one; None once the link is given up.

        Raises:
            MemoryError: there is no room for it, where the link says so.
        """
        letter = await self.arrive()
        if letter is not None:
            self.take(letter)
        return letter

    async def arrive(self) -> Letter | None:
        """As `receive`, but the letter counts as taken only after `take`: who may be stopped in between loses none."""
        letter = await self._arrived.get()
        if letter is None:
            self._arrived.put_nowait(None)
            if self._no_room and not self.closed:
                raise MemoryError(self._no_room)
        return letter

    def take(self, letter: Letter) -> None:
        """A letter that has arrived is in its receiver's hands; the peer need not keep it any more."""
        self._inbox.release(letter)
        if self._taken == self._acknowledged:
            self._taken_s, self._taken_bytes = time.monotonic(), 0
            self._to_send.set()
        self._taken += 1
        self._taken_bytes += letter.packed.nbytes
        if self._taken_bytes >= _ACK_BYTES:
            self._to_send.set()

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
        self._lanes += 1
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
            self._lanes -= 1
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

    async def emptied(self) -> None:
        """Wait until the peer has taken everything, or the link is given up."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or not self._outbox.waiting_bytes)

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
        while (pieces := await lane.read()) is not None:
            self.heard_s = time.monotonic()
            for piece in pieces:
                self._heard += 1
                for letter in await self._take_if_there_is_room(piece):
                    self._arrived.put_nowait(letter)

    async def _take_if_there_is_room(self, piece: AnyPiece) -> list[Letter]:
        try:
            return await self._take(piece)
        except (MemoryError, RuntimeError) as error:
            if not (self._says_no_room and is_out_of_memory(error)):
                raise
            self._no_room = str(error).splitlines()[0][:200] if str(error) else "no memory"
            self._arrived.put_nowait(None)
            return []

    async def _listen(self) -> None:
        """Until one of the two has heard nothing for too long."""
        while self.silent_s <= self.silence_s:
            await asyncio.sleep(BEAT_S)

    async def _take(self, piece: AnyPiece) -> list[Letter]:
        content = "part" if isinstance(piece, Part) else piece.WhichOneof("content")
        if self._no_room and content != "ack":
            return []
        if isinstance(piece, Part):
            return await self._take_part(piece)
        if piece.more:
            raise garbled(f"a piece from {self.peer}", "pieces side by side", "pieces within pieces")
        if content == "part":
            return await self._take_part(as_part(piece.part))
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

    async def _take_part(self, part: Part) -> list[Letter]:
        if not self._inbox.knows(part.number):  # its head comes on another lane
            async with self._changed:
                await self._changed.wait_for(lambda: self._inbox.knows(part.number))
        self.got_bytes += part.content.nbytes
        return self._inbox.take_part(part)

    async def _write(self, lane: Lane) -> None:
        try:
            while not self.closed:
                if pieces := self._next_pieces():
                    await lane.write(pieces)
                    self.sent_bytes += sum(nbytes_of(piece) for piece in pieces if isinstance(piece, Part))
                else:
                    await self._tell()
                    await self._until_there_is_more()
        except ConnectionError:
            return

    async def _until_there_is_more(self) -> None:
        """Wait for something to send, be it that it is time for an acknowledgement or a beat."""
        self._to_send.clear()
        wake = asyncio.get_running_loop().call_later(max(self._due_s() - time.monotonic(), 0.0), self._to_send.set)
        await self._to_send.wait()
        wake.cancel()

    def _due_s(self) -> float:
        """`time.monotonic()` when the peer is to be told something at the latest."""
        beat_s = self._told_s + BEAT_S
        if self._taken == self._acknowledged:
            return beat_s
        return self._taken_s if self._taken_bytes >= _ACK_BYTES else min(beat_s, self._taken_s + _ACK_S)

    def _next_pieces(self) -> list[AnyPiece]:
        """What goes as one message; nothing if there is nothing to say."""
        pieces: list[AnyPiece] = []
        nbytes = 0
        while nbytes < BUNDLE_BYTES and (piece := self._outbox.next_piece()):
            pieces.append(piece)
            nbytes += nbytes_of(piece)
        if (pieces and self._taken > self._acknowledged) or time.monotonic() >= self._due_s():
            pieces.append(self._ack())
        return pieces

    def _ack(self) -> wire.Piece:
        self._acknowledged, self._told_s = self._taken, time.monotonic()
        return wire.Piece(ack=wire.Ack(number=self._taken, heard=self._heard))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
