"""What is in force for each slot of a step: what was settled, what the initiator made itself, what it corrected."""

from __future__ import annotations

from torch import Tensor

from shieldwall.core.ids import Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header
from shieldwall.verify.court.records import Records


class InForce:
    """Roots, and the tensors of corrections.

    Args:
        records: what was said.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._corrections: dict[Slot, tuple[Signed[Header], Tensor]] = {}

    def correct(self, header: Signed[Header], tensor: Tensor) -> None:
        """The initiator's header stands for the slot from now on."""
        self._corrections[header.statement.slot] = header, tensor

    def correction(self, slot: Slot) -> Tensor | None:
        """The corrected tensor, where there is one."""
        return self._corrections[slot][1] if slot in self._corrections else None

    def root(self, slot: Slot | None) -> str:
        """Root of what stands for the slot; of what its maker signed first where it is not settled; empty for None."""
        if slot is None:
            return ""
        if slot in self._corrections:
            return self._corrections[slot][0].statement.root_out
        signed = [header.statement.root_out for header in self._records.headers(slot)]
        settled = [settlement.root_out for settlement in self._records.settlements(slot)]
        return next((root for root in settled if root in signed), signed[0] if signed else "")

    def is_settled(self, slot: Slot, source: Slot | None) -> bool:
        """The join (design 4.3): maker's output = settled output, and maker's input = settled input = what is in force.

        `source` is the slot of the tensor that this one was made from.
        """
        if slot in self._corrections:
            return True
        headers, settlements = self._records.headers(slot), self._records.settlements(slot)
        if len(headers) != 1 or self._records.complaints(slot):
            return False
        header = headers[0].statement
        if self._records.is_trusted(slot.stage):
            return True
        if len(settlements) != 1:
            return False
        settlement = settlements[0]
        roots_in = {header.root_in, settlement.root_in, self.root(source)}
        return len(roots_in) == 1 and header.root_out == settlement.root_out

    def forget(self) -> None:
        """Drop everything; the step is over."""
        self._corrections.clear()
