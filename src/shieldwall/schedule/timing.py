"""How long things take: computations on their hosts, tensors on their way, settlements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shieldwall.core.ids import INITIATOR, SERVER
from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.costs import StageCosts
from shieldwall.schedule.custody import Custody
from shieldwall.schedule.flow import Parcel
from shieldwall.schedule.plan import Topology

Processor = tuple[str, str]
"""What one computation needs for itself: ("shared", its name), or ("own", the host's name)."""


@dataclass(frozen=True, slots=True)
class TimedAction:
    """One computation and when it runs, in seconds from the start of the step."""

    host: str
    stage: int
    micro_batch: int
    kind: Kind
    start_s: float
    end_s: float

    @property
    def compute(self) -> Action:
        """What was computed."""
        return Action(self.kind, self.stage, self.micro_batch)


@dataclass(frozen=True, slots=True)
class Timing:
    """The costs of the stages on the hosts that hold them and their duplicates.

    Args:
        custody: who runs what.
        costs: seconds on a host of speed 1.
        topology: in a star the way from worker to worker leads over the server, which stands beside the initiator.
    """

    custody: Custody
    costs: StageCosts
    topology: Topology = "chain"

    def seconds(self, compute: Action) -> float:
        """Seconds that `compute` takes on its host."""
        return self.costs.seconds(compute) / self.custody.host_of(compute).speed

    def way_s(self, source: str, to: str) -> float:
        """Seconds from the host `source` to the host `to`; 0 within a host."""
        if source == to:
            return 0.0
        twice = self.topology == "star" and INITIATOR not in (source, to)
        return self.costs.transfer_s * (2 if twice else 1)

    def receivers(self, parcel: Parcel, to: str) -> tuple[str, ...]:
        """Where `parcel` arrives when it is sent to `to`: there, or with all who need it where that is the server."""
        return self.custody.destinations(parcel) if to == SERVER else (to,)

    def processor(self, compute: Action) -> Processor:
        """What `compute` needs for itself: a shared processor, or the host's own."""
        host = self.custody.host_of(compute)
        return ("own", host.name) if host.processor is None else ("shared", host.processor)

    def timed(self, compute: Action, start_s: float) -> TimedAction:
        """`compute` as it runs when it starts at `start_s`."""
        end_s = start_s + self.seconds(compute)
        host = self.custody.host_of(compute).name
        return TimedAction(host, compute.stage, compute.micro_batch, compute.kind, start_s, end_s)

    def settled_s(self, parcel: Parcel, here: str, end_s: Mapping[Action, float]) -> float | None:
        """When the host `here` knows that `parcel` is settled, or None where that cannot be said yet.

        The checker needs its own result and the header of the tensor, then tells `here`. Its stage must have a checker.

        Args:
            parcel: what is settled.
            here: the host that waits.
            end_s: when each computation has ended, as far as known.
        """
        made_s, checked_s = end_s.get(parcel.maker), end_s.get(parcel.check)
        if made_s is None or checked_s is None:
            return None
        holder, checker = self.custody.holders[parcel.stage].name, self.custody.checkers[parcel.stage].name
        return max(checked_s, made_s + self.way_s(holder, checker)) + self.way_s(checker, here)

    def urgency(self, compute: Action) -> tuple[bool, int, int, bool]:
        """What a processor prefers among computations that are ready: backward, then what lets others go on.

        A host with a processor of its own feeds the others: the deepest stage first backward, the shallowest first
        forward. Hosts that share a processor gain nothing by that, and take the lowest micro-batch first, which frees
        its memory; a check goes as early as backward work there, because nobody else could use the time.
        """
        backward, check = compute.kind in {Kind.BACKWARD, Kind.CHECK_BACKWARD}, compute.kind.is_check
        if self.custody.host_of(compute).processor is None:
            return (not backward, -compute.stage if backward else compute.stage, compute.micro_batch, check)
        return (not (backward or check), compute.micro_batch, -compute.stage, check)
