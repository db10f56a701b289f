"""What flows between neighbouring stages: which tensor an action needs, makes or carries.

    F0 --a0--> F1 --a1--> ... --> F(K-1)      a_i: made by stage i, used by stage i+1 and by its duplicate
    B0 <--g1-- B1 <--g2-- ... <-- B(K-1)      g_i: made by stage i, used by stage i-1 and by its duplicate

The last stage makes its loss and the first needs no gradient sent on, so neither a_(K-1) nor g_0 travels. What a
duplicate makes goes nowhere: D_i and E_i only settle a_i and g_i.
"""

from __future__ import annotations

from typing import NamedTuple

from shieldwall.core.ids import Direction
from shieldwall.schedule.actions import Action, Kind


class Parcel(NamedTuple):
    """An activation (forward) or a gradient (backward) of one micro-batch, named by the stage that makes it."""

    direction: Direction
    stage: int
    micro_batch: int

    def __str__(self) -> str:
        return f"{'a' if self.direction is Direction.FORWARD else 'g'}_{self.stage} of micro-batch {self.micro_batch}"

    @property
    def consumer(self) -> int:
        """The stage that uses it, and whose duplicate does."""
        return self.stage + 1 if self.direction is Direction.FORWARD else self.stage - 1

    @property
    def maker(self) -> Action:
        """The computation that makes it."""
        return Action(self._kind(Kind.FORWARD, Kind.BACKWARD), self.stage, self.micro_batch)

    @property
    def check(self) -> Action:
        """The computation that settles it, where the stage that makes it has a duplicate."""
        return Action(self._kind(Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD), self.stage, self.micro_batch)

    @property
    def user(self) -> Action:
        """The computation of a stage that uses it."""
        return Action(self._kind(Kind.FORWARD, Kind.BACKWARD), self.consumer, self.micro_batch)

    @property
    def second_user(self) -> Action:
        """The computation of a duplicate that uses it, where the consumer has one."""
        return Action(self._kind(Kind.CHECK_FORWARD, Kind.CHECK_BACKWARD), self.consumer, self.micro_batch)

    def send(self, to: str) -> Action:
        """The action that sends it to the host `to`."""
        kind = self._kind(Kind.SEND_ACTIVATION, Kind.SEND_GRADIENT)
        return Action(kind, self.stage, self.micro_batch, to)

    def receive(self, source: str) -> Action:
        """The action that waits for it from the host `source`."""
        kind = self._kind(Kind.RECEIVE_ACTIVATION, Kind.RECEIVE_GRADIENT)
        return Action(kind, self.stage, self.micro_batch, source)

    def wait(self, checker: str) -> Action:
        """The action that waits until the host `checker` has settled it."""
        kind = self._kind(Kind.WAIT_ACTIVATION, Kind.WAIT_GRADIENT)
        return Action(kind, self.stage, self.micro_batch, checker)

    def _kind(self, forward: Kind, backward: Kind) -> Kind:
        return forward if self.direction is Direction.FORWARD else backward


def parcel_of(action: Action) -> Parcel:
    """The tensor that an action makes, checks, carries or waits for, whether or not anybody needs it."""
    return Parcel(action.kind.direction, action.stage, action.micro_batch)


def travels(parcel: Parcel, stages: int) -> bool:
    """Whether some stage of `stages` makes `parcel` and another uses it."""
    return 0 <= parcel.stage < stages and 0 <= parcel.consumer < stages


def made_by(compute: Action, stages: int) -> Parcel | None:
    """The tensor that others wait for, or None at the ends of the pipeline and for checks."""
    parcel = parcel_of(compute)
    return parcel if travels(parcel, stages) and not compute.kind.is_check else None


def needed_by(compute: Action, stages: int) -> Parcel | None:
    """The neighbour's tensor that `compute` works on, or None at the ends of the pipeline."""
    direction = compute.kind.direction
    source = compute.stage - 1 if direction is Direction.FORWARD else compute.stage + 1
    parcel = Parcel(direction, source, compute.micro_batch)
    return parcel if travels(parcel, stages) else None
