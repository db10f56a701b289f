"""What a stage costs in time. Measured or guessed elsewhere; a plan only does arithmetic with it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from shieldwall.core.errors import PlanError
from shieldwall.core.ids import Direction
from shieldwall.schedule.actions import Action


@dataclass(frozen=True, slots=True)
class StageCosts:
    """Seconds for one micro-batch, on a host of speed 1.

    Args:
        forward_s: seconds of a forward pass, for each stage; 0 or more.
        backward_s: seconds of a backward pass, for each stage; 0 or more.
        transfer_s: seconds from a send until the tensor is on another host; 0 or more. Nothing waits for a send.

    Raises:
        PlanError: SW-P109, different lengths, or a time that is negative or not finite.
    """

    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]
    transfer_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.forward_s) != len(self.backward_s):
            raise _unfit(
                "as many backward as forward times", f"{len(self.forward_s)} forward, {len(self.backward_s)} backward"
            )
        for seconds in (*self.forward_s, *self.backward_s, self.transfer_s):
            if not (isfinite(seconds) and seconds >= 0):
                raise _unfit("finite times of 0 seconds or more", f"{seconds}")

    def seconds(self, compute: Action) -> float:
        """Seconds that `compute` takes on a host of speed 1; a check repeats the pass and costs as much."""
        forward = compute.kind.direction is Direction.FORWARD
        return (self.forward_s if forward else self.backward_s)[compute.stage]


def equal_slots(stages: int) -> StageCosts:
    """Every pass takes one second and transfers take none: a plan in slots, as papers draw it."""
    return StageCosts(forward_s=(1.0,) * stages, backward_s=(1.0,) * stages)


def check_costs(costs: StageCosts, stages: int) -> None:
    """Refuse costs of another number of stages.

    Raises:
        PlanError: SW-P109.
    """
    if len(costs.forward_s) != stages:
        raise _unfit(f"times for {stages} stages", f"times for {len(costs.forward_s)}")


def _unfit(expected: str, got: str) -> PlanError:
    return PlanError(
        "SW-P109",
        "the stage costs cannot be used",
        expected=expected,
        got=got,
        remedy="give one forward and one backward time for each stage, in seconds; equal_slots(K) is always right",
    )
