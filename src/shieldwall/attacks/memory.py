"""What an attacker keeps of its own past: the states that it held, the frames that it sent, what came in last."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import StageState, TensorFrame

_KEPT = 3
"""Frames kept for one place and destination: the one in work, and one more than an order to run again needs."""


class Memory:
    """One host's own past. Everything in it went through its own hands, honest as it was made.

    Args:
        states_back: how many states of each stage are kept beside the one in force.
        compression: of the frames.
    """

    def __init__(self, states_back: int = 0, compression: Compression = PLAIN) -> None:
        self._states_back = states_back
        self._compression = compression
        self._states: dict[int, list[StageState]] = {}
        self._input: tuple[Slot, Tensor] | None = None
        self._frames: dict[tuple[str, str, Direction, int, int], list[TensorFrame]] = {}

    def begin_states(self, stage: int, state: StageState) -> None:
        """`stage` was handed over in `state`, whatever the host held of it before; kept by reference."""
        self._states[stage] = [state]

    def keep_state(self, stage: int, state: StageState) -> None:
        """`state` is in force for `stage`; kept by reference. Of those before it the weights alone are kept."""
        kept = [replace(old, moments={}) for old in self._states.get(stage, [])]
        self._states[stage] = [*kept, state][-1 - self._states_back :]

    def state_in_force(self, stage: int) -> StageState | None:
        """The state of `stage` before the step in work, or None where the host never held it."""
        return self.older_state(stage, 0)

    def older_state(self, stage: int, back: int) -> StageState | None:
        """The state that was in force `back` commits before the one in force; None where there is none, or not kept.

        Its moments are there at 0 alone.
        """
        kept = self._states.get(stage, [])
        return kept[-1 - back] if back < len(kept) else None

    def keep_input(self, slot: Slot, tensor_BTD: Tensor) -> None:
        """What came in for the work on `slot`, which begins; that of the work before is dropped."""
        self._input = (slot, tensor_BTD)

    def input_of(self, slot: Slot) -> Tensor | None:
        """What came in for `slot`, where that is the work in hand."""
        return self._input[1] if self._input and self._input[0] == slot else None

    def drop_input(self) -> None:
        """The work in hand is done."""
        self._input = None

    def keep_frame(self, frame: TensorFrame) -> None:
        """`frame` is on its way; what was kept longest for its place and destination is dropped."""
        kept = self._frames.setdefault(_key(frame.destination, frame.slot), [])
        kept[:] = [old for old in kept if _attempt(old.slot) != _attempt(frame.slot)]
        kept.append(frame)
        del kept[:-_KEPT]

    def older_frame(self, destination: str, slot: Slot) -> TensorFrame | None:
        """What went to `destination` for the same place: in another attempt of the step, else in the last step sent."""
        kept = self._frames.get(_key(destination, slot), [])
        older = [frame for frame in kept if _attempt(frame.slot) != _attempt(slot)]
        attempts = [frame for frame in older if frame.slot.step == slot.step]
        return next(reversed(attempts or older), None)

    def tensor_of(self, frame: TensorFrame) -> Tensor:
        """(B, T, D): what the receivers of a frame work with."""
        return self._compression.unpack(frame.tensor)

    def micro_batch_before(self, destination: str, slot: Slot) -> TensorFrame | None:
        """What went to `destination` last in the step, for the micro-batch before that of `slot`."""
        kept = self._frames.get(_key(destination, replace(slot, micro_batch=slot.micro_batch - 1)), [])
        return next((frame for frame in reversed(kept) if frame.slot.step == slot.step), None)


def _key(destination: str, slot: Slot) -> tuple[str, str, Direction, int, int]:
    return (slot.run, destination, *slot.place)


def _attempt(slot: Slot) -> tuple[int, int]:
    return slot.step, slot.attempt
