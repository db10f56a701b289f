"""Takes messages in the order in which they are needed, whatever the order in which they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from shieldwall.core.ids import COORDINATOR, SERVER, Slot
from shieldwall.core.messages import Discard, Message, Note, Play, Stop, TensorFrame, Void
from shieldwall.pipeline.dropped import Dropped
from shieldwall.pipeline.guard import Guard
from shieldwall.transport import Endpoint

T = TypeVar("T")
Attend = Callable[[Message], Awaitable[bool]]
"""Answers what cannot wait; False where a message can."""
Flush = Callable[[], Awaitable[None]]
"""Sends what the guard wants said."""


class StepDiscarded(Exception):  # noqa: N818 (control flow inside the room, never shown)
    """The coordinator gave up the step that is being played, or lets this host go."""


class MicroBatchVoid(Exception):  # noqa: N818 (control flow inside the room, never shown)
    """The coordinator has the micro-batch run again later; what is left of it in this lane is left out."""


class Mailbox:
    """Sorts one endpoint's messages into tensors, by slot and sender, statements and orders.

    Only the coordinator gives orders. A tensor is from whom the transport says, or where the initiator's server or
    coordinator passes it on, from whom that says, and is taken only where the lane waits for it from that host. A
    statement's signature is its proof, whoever brings it. Everything else is dropped.

    Args:
        endpoint: where they come from.
        guard: judges frames and hears statements; None in a run that checks nothing.
        attend: answers orders that cannot wait until a lane is played.
        flush: called after each message in a run that is checked.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        guard: Guard | None = None,
        attend: Attend | None = None,
        flush: Flush | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._guard = guard
        self._attend = attend
        self._flush = flush
        self._frames: dict[tuple[Slot, str], TensorFrame] = {}
        """By slot and who made them."""
        self._ordered: Play | None = None
        """The newest order to play that has come, whether it is obeyed yet or not."""
        self._late: list[TensorFrame] = []
        self._orders: list[tuple[Message, float]] = []
        self._playing: Play | None = None
        self.void: set[int] = set()
        """Micro-batches that are left out of the lane that is played."""
        self.order_arrived_s = 0.0
        """`time.perf_counter()` when the order that was taken last had come in."""
        self.dropped = Dropped(endpoint.name)

    def begin(self, play: Play) -> None:
        """A lane is about to be played."""
        self._playing = play
        self.void.clear()
        self._frames = {key: frame for key, frame in self._frames.items() if not _is_older(frame.slot, play)}
        late, self._late = self._late, []
        if self._guard:
            for frame in late:
                self._guard.refuse_stale(frame)

    async def take_tensor(self, slot: Slot, sender: str) -> Tensor:
        """The tensor for `slot` from `sender`, waiting for it, or what the initiator has put in its place.

        Raises:
            StepDiscarded: the coordinator gave the step up meanwhile.
            MicroBatchVoid: the micro-batch is left out.
        """
        while True:
            frame = self._frames.pop((slot, sender), None)
            if frame is not None:
                tensor = frame.tensor if self._guard is None else await self._guard.admit(frame)
                if tensor is not None:
                    return tensor
            if self._guard and (corrected := self._guard.corrected(slot)) is not None:
                return corrected
            await self.pump(slot)

    async def take_settled(self, slot: Slot) -> Tensor:
        """The tensor for `slot` once it is settled.

        Raises:
            StepDiscarded, MicroBatchVoid: as `take_tensor`.
        """
        if self._guard is None:
            raise LookupError("a lane that waits for settlements needs a guard")
        while (tensor := self._guard.settled(slot)) is None:
            await self.pump(slot)
        return tensor

    async def pump(self, slot: Slot) -> None:
        """Wait for one message and sort it; `slot` is what the caller waits for."""
        self._check_wanted(slot)  # what came while the lane computed may have been the last to come
        await self._say()
        await self._sort(await self._endpoint.receive())
        self._check_wanted(slot)

    def _check_wanted(self, slot: Slot) -> None:
        """Whether there is anything left to wait for."""
        if any(isinstance(order, Discard | Stop) for order, _ in self._orders):
            raise StepDiscarded
        if slot.micro_batch in self.void:
            raise MicroBatchVoid

    async def meanwhile(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. What comes in while it waits is sorted and answered: others may wait for a settlement
        that needs no more of this host than to hear the header."""
        working = asyncio.create_task(work)
        receiving: asyncio.Task[Message] | None = None
        try:
            while not working.done():
                receiving = receiving or asyncio.create_task(self._endpoint.receive())
                await asyncio.wait({working, receiving}, return_when=asyncio.FIRST_COMPLETED)
                if receiving.done():
                    message, receiving = receiving.result(), None
                    await self._sort(message)
        finally:
            working.cancel()
            if receiving:
                receiving.cancel()
        return working.result()

    async def take_order(self) -> Message:
        """The next order, waiting for it."""
        while not self._orders:
            await self._sort(await self._endpoint.receive())
        order, self.order_arrived_s = self._orders.pop(0)
        return order

    def forget_tensors(self) -> None:
        """Drop what came for a step that is over."""
        self._frames.clear()
        self._late.clear()

    async def _sort(self, message: Message) -> None:
        sender = self._endpoint.sender
        if isinstance(message, TensorFrame):
            await self._take_in(
                message if sender in (message.source, SERVER, COORDINATOR) else replace(message, source=sender)
            )
        elif isinstance(message, Note):
            if self._guard:
                await self._guard.hear(message)
        elif sender != COORDINATOR:
            self.dropped.add(sender, message)
        elif self._attend is None or not await self._attend(message):
            self._ordered = message if isinstance(message, Play) else self._ordered
            self._orders.append((message, self._endpoint.arrived_s))
        elif isinstance(message, Void):
            self._leave_out(message)
        await self._say()

    async def _take_in(self, frame: TensorFrame) -> None:
        """Keep a frame until its tensor is asked for.

        What is older than a lane that was ordered before it came was sent in the place of something else. What came
        before that order is left over from an attempt that was broken off, and goes when the lane begins.
        """
        if self._guard is None or self._ordered is None or not _is_older(frame.slot, self._ordered):
            self._frames[frame.slot, frame.source] = frame
            if self._guard and frame.header:
                await self._guard.hear(Note(signed=frame.header))
        elif self._playing is self._ordered:
            self._guard.refuse_stale(frame)
        else:
            self._late.append(frame)

    async def _say(self) -> None:
        """Send what the guard wants said: others may wait for it while this host waits for something else."""
        if self._guard and self._flush:
            await self._flush()

    def _leave_out(self, order: Void) -> None:
        playing = self._playing
        if playing and (playing.step, playing.attempt) == (order.step, order.attempt):
            self.void.update(order.micro_batches)


def _is_older(slot: Slot, play: Play) -> bool:
    return (slot.step, slot.attempt, slot.view) < (play.step, play.attempt, play.view)
