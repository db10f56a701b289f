"""The tensors behind a case as pieces of evidence: the work, and the state that it was done with.

The state is a piece of its own, because the cases of one step and stage share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from shieldwall.core.flat_state import flatten_state
from shieldwall.core.messages import StageState
from shieldwall.verify.court.recompute import MicroBatchWork
from shieldwall.verify.court.record import Record

WORK, STATE = "work", "state"
"""What a piece is, under `what` of its notes."""


def keep_case(
    record: Record, work: Mapping[int, MicroBatchWork], state: StageState, about: Mapping[str, Any]
) -> tuple[str, ...]:
    """Put a case's tensors away; gives the roots of the pieces, none where the run keeps no evidence."""
    tensors = {
        f"{name}.{micro_batch}": tensor
        for micro_batch, each in work.items()
        for name, tensor in (("entry", each.entry_BTD), ("arrived", each.arrived_BTD), ("positions", each.positions_BT))
        if tensor is not None
    }
    pieces = (
        record.keep_evidence(tensors, {"what": WORK, **about}) if tensors else "",
        record.keep_evidence(flatten_state(state), {"what": STATE, "step": about["step"], "stage": about["stage"]}),
    )
    return tuple(piece for piece in pieces if piece)


def read_work(tensors: Mapping[str, Tensor]) -> dict[int, MicroBatchWork]:
    """The work in an opened piece, by micro-batch."""
    numbers = sorted({int(name.rpartition(".")[2]) for name in tensors})
    return {
        number: MicroBatchWork(
            tensors[f"entry.{number}"], tensors.get(f"arrived.{number}"), tensors.get(f"positions.{number}")
        )
        for number in numbers
    }
