"""What an attacker keeps of its own past: the states that it held and the frames that it sent."""

from __future__ import annotations

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import StageState, TensorFrame

_KEPT = 3
"""Frames kept for one place and destination: the one in work, and one more than an order to run again needs."""


class Memory:
    """One host's own past. Everything in it went through its own hands, honest as it was made."""

    def __init__(self) -> None:
        self._states: dict[int, StageState] = {}
        self._frames: dict[tuple[str, str, Direction, int, int], list[TensorFrame]] = {}

    def keep_state(self, stage: int, state: StageState) -> None:
        """`state` is in force for `stage`; kept by reference."""
        self._states[stage] = state

    def state_in_force(self, stage: int) -> StageState | None:
        """The state of `stage` before the step in work, or None where the host never held it."""
        return self._states.get(stage)

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


def _key(destination: str, slot: Slot) -> tuple[str, str, Direction, int, int]:
    return (slot.run, destination, *slot.place)


def _attempt(slot: Slot) -> tuple[int, int]:
    return slot.step, slot.attempt
