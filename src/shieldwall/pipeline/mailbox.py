"""Takes messages in the order in which they are needed, whatever the order in which they come."""

from __future__ import annotations

from torch import Tensor

from shieldwall.core.ids import Slot
from shieldwall.core.messages import Discard, Message, TensorFrame
from shieldwall.transport import Endpoint


class StepDiscarded(Exception):  # noqa: N818 (control flow inside the room, never shown)
    """The coordinator gave up the step that is being played."""


class Mailbox:
    """Sorts one endpoint's messages into tensors, by slot, and orders."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tensors: dict[Slot, Tensor] = {}
        self._orders: list[tuple[Message, float]] = []
        self.order_arrived_s = 0.0
        """`time.perf_counter()` when the order that was taken last had come in."""

    async def take_tensor(self, slot: Slot) -> Tensor:
        """The tensor for `slot`, waiting for it.

        Raises:
            StepDiscarded: the coordinator gave the step up meanwhile.
        """
        while slot not in self._tensors:
            self._sort(await self._endpoint.receive())
            if any(isinstance(order, Discard) for order, _ in self._orders):
                raise StepDiscarded
        return self._tensors.pop(slot)

    async def take_order(self) -> Message:
        """The next order, waiting for it."""
        while not self._orders:
            self._sort(await self._endpoint.receive())
        order, self.order_arrived_s = self._orders.pop(0)
        return order

    def forget_tensors(self) -> None:
        """Drop what came for a step that is over."""
        self._tensors.clear()

    def _sort(self, message: Message) -> None:
        if isinstance(message, TensorFrame):
            self._tensors[message.slot] = message.tensor
        else:
            self._orders.append((message, self._endpoint.arrived_s))
