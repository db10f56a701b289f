"""A lane's actions as they come with the order, and which tensors they use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from shieldwall.core.ids import Direction
from shieldwall.schedule import Action


class Key(NamedTuple):
    """Names a tensor within a step: the activation that `stage` makes, or the gradient that it sends back."""

    backward: bool
    stage: int
    micro_batch: int


class LaneText(NamedTuple):
    """What is known of a lane before it is played."""

    actions: tuple[Action, ...]
    uses: Counter[Key]
    """How often each tensor is used on this host."""


@lru_cache(maxsize=64)
def read_lane(texts: tuple[str, ...]) -> LaneText:
    """Read a lane; the same lane comes again with every step."""
    actions = tuple(Action.parse(text) for text in texts)
    return LaneText(actions, Counter(key for action in actions for key in _reads(action)))


def made_by(action: Action) -> Key:
    """The tensor that a send, receive or wait is about."""
    return Key(action.kind.direction is Direction.BACKWARD, action.stage, action.micro_batch)


def _reads(action: Action) -> Iterable[Key]:
    """The tensors that an action uses up."""
    if action.kind.is_send:
        return [made_by(action)]
    if not action.kind.is_compute:
        return []
    backward = action.kind.direction is Direction.BACKWARD
    return [Key(backward, action.stage + 1 if backward else action.stage - 1, action.micro_batch)]
