"""What a host keeps of a step's tensors until the commit: what it made, what it was sent, what replaced it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from shieldwall.core.ids import Slot
from shieldwall.core.messages import Correct, Shown
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header


class KeptTensors:
    """Tensors by slot, each with the header that binds it. Nothing is copied."""

    def __init__(self) -> None:
        self._kept: dict[Slot, tuple[Tensor, Signed[Header]]] = {}
        self._corrections: dict[Slot, Correct] = {}

    def keep(self, slot: Slot, tensor: Tensor, header: Signed[Header]) -> None:
        """Keep what was made here or came in."""
        self._kept[slot] = tensor, header

    def correct(self, order: Correct) -> None:
        """Let the initiator's tensor take the place of what was there."""
        self._corrections[order.header.statement.slot] = order

    def corrected(self, slot: Slot) -> Tensor | None:
        """The initiator's tensor for `slot`, if there is one."""
        order = self._corrections.get(slot)
        return order.tensor if order else None

    def tensor(self, slot: Slot) -> Tensor | None:
        """What is in force for `slot`."""
        corrected = self.corrected(slot)
        if corrected is not None:
            return corrected
        return self._kept[slot][0] if slot in self._kept else None

    def root(self, slot: Slot | None) -> str:
        """Root of what is in force for `slot`; empty where there is nothing."""
        if slot in self._corrections:
            return self._corrections[slot].header.statement.root_out
        return self._kept[slot][1].statement.root_out if slot in self._kept else ""

    def show(self, slot: Slot, host: str) -> Shown:
        """What came or was made for `slot`, before any correction."""
        tensor, header = self._kept.get(slot, (None, None))
        return Shown(host=host, slot=slot, tensor=tensor, header=header)

    def forget(self, keep: Callable[[Slot], bool]) -> None:
        """Drop everything but what `keep` says."""
        self._kept = {slot: kept for slot, kept in self._kept.items() if keep(slot)}
        self._corrections = {slot: order for slot, order in self._corrections.items() if keep(slot)}
