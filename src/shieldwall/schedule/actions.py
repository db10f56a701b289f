"""What a host can be told to do: one action of a lane, and its text form.

    F2.0             stage 2 runs micro-batch 0 forward
    B2.0             stage 2 runs micro-batch 0 backward
    SA2.0>worker-3   send a_2 of micro-batch 0 to worker-3
    RA2.0<worker-2   wait for a_2 of micro-batch 0 from worker-2
    SG2.0>worker-1   send g_2 of micro-batch 0 to worker-1
    RG2.0<worker-2   wait for g_2 of micro-batch 0 from worker-2
    D2.0             the duplicate of stage 2 runs micro-batch 0 forward, on a_1
    E2.0             the duplicate of stage 2 runs micro-batch 0 backward, on g_3
    WA2.0<worker-3   wait until worker-3 has settled a_2 of micro-batch 0
    WG2.0<worker-3   wait until worker-3 has settled g_2 of micro-batch 0

The number after the letters is the stage. For a tensor on its way it is the stage that made it, at both ends. Whom a
wait names is the checker of that stage, which may be the very host that waits.
A new kind of action is a new member of `Kind` and, where it belongs, a line in the sets below the class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import Direction


class Kind(StrEnum):
    """What is done; the value opens the text form."""

    FORWARD = "F"
    BACKWARD = "B"
    SEND_ACTIVATION = "SA"
    RECEIVE_ACTIVATION = "RA"
    SEND_GRADIENT = "SG"
    RECEIVE_GRADIENT = "RG"
    CHECK_FORWARD = "D"
    CHECK_BACKWARD = "E"
    WAIT_ACTIVATION = "WA"
    WAIT_GRADIENT = "WG"

    @property
    def is_compute(self) -> bool:
        """Whether it keeps the host's processor busy."""
        return self in _COMPUTES

    @property
    def is_send(self) -> bool:
        """Whether it hands a tensor to another host; never blocks."""
        return self in _SENDS

    @property
    def is_receive(self) -> bool:
        """Whether it waits for a tensor from another host; blocks the lane until it is there."""
        return self in _RECEIVES

    @property
    def is_check(self) -> bool:
        """Whether a duplicate computes; every check is a computation."""
        return self in _CHECKS

    @property
    def is_wait(self) -> bool:
        """Whether it waits until a tensor is settled; blocks the lane like a receive, but carries nothing."""
        return self in _WAITS

    @property
    def direction(self) -> Direction:
        """Which way the tensor travels that it makes, checks, carries or waits for."""
        return Direction.BACKWARD if self in _BACKWARDS else Direction.FORWARD


_CHECKS = frozenset({Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD})
_COMPUTES = frozenset({Kind.FORWARD, Kind.BACKWARD}) | _CHECKS
_SENDS = frozenset({Kind.SEND_ACTIVATION, Kind.SEND_GRADIENT})
_RECEIVES = frozenset({Kind.RECEIVE_ACTIVATION, Kind.RECEIVE_GRADIENT})
_WAITS = frozenset({Kind.WAIT_ACTIVATION, Kind.WAIT_GRADIENT})
_BACKWARDS = frozenset(
    {Kind.BACKWARD, Kind.SEND_GRADIENT, Kind.RECEIVE_GRADIENT, Kind.CHECK_BACKWARD, Kind.WAIT_GRADIENT}
)

_FORM = re.compile(r"([A-Z]+)(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:([<>])(.+))?")


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a host does for one stage and one micro-batch.

    Args:
        kind: what is done.
        stage: the stage that computes or whose duplicate does; for all else the stage that made the tensor; from 0.
        micro_batch: from 0.
        peer: the host at the other end of a send or receive, the checker of a wait, printable; empty for computation.

    Raises:
        PlanError: SW-P110, a negative number, no peer where one belongs, or a peer where none does.
    """

    kind: Kind
    stage: int
    micro_batch: int
    peer: str = ""

    def __post_init__(self) -> None:
        if self.stage < 0 or self.micro_batch < 0:
            raise _unreadable(str(self), "stage and micro-batch count from 0")
        if self.kind.is_compute == bool(self.peer) or not self.peer.isprintable():
            raise _unreadable(str(self), "no peer for a computation, a printable one for all else")

    def __str__(self) -> str:
        arrow = "" if self.kind.is_compute else ">" if self.kind.is_send else "<"
        return f"{self.kind}{self.stage}.{self.micro_batch}{arrow}{self.peer}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The action that `text` stands for; the inverse of `str`.

        Raises:
            PlanError: SW-P110, the text is no action.
        """
        found = _FORM.fullmatch(text)
        if not found or found[1] not in list(Kind):
            raise _unreadable(text, f"a text such as F2.0 or SA2.0>worker-3, with one of {', '.join(Kind)} in front")
        action = cls(Kind(found[1]), int(found[2]), int(found[3]), found[5] or "")
        if str(action) != text:
            raise _unreadable(text, f"an arrow that fits the kind, as in {action}")
        return action


def _unreadable(text: str, expected: str) -> PlanError:
    return PlanError(
        "SW-P110",
        f"{text!r} is no action of a plan",
        expected=expected,
        got=repr(text),
        remedy="write a send as SA2.0>worker-3, a receive as RA2.0<worker-2, computation as F2.0 or B2.0",
    )
