"""Watches lanes that are played: who does not go on although it has all that it takes is lost, without blame.

nothing new for as long as a lane may take ----> somebody has all that it takes and owes something: lost
                                            \\--> nobody, as far as is certain: what may not have come is handed on
                                                 by the initiator itself, and everybody has as long again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shieldwall.core.ids import INITIATOR, SERVER, Direction, Place, Slot
from shieldwall.core.messages import Note, Shown, TensorFrame
from shieldwall.core.oversight import Correspondence, Oversight
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Alert, Header, Inquiry, Settlement
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.disputes import Disputes
from shieldwall.pipeline.lane_needs import Point, Thing
from shieldwall.pipeline.waiting import Standing, Waiting
from shieldwall.pipeline.witness import Witness
from shieldwall.schedule import Plan


@dataclass(slots=True)
class LaneWatch:
    """One attempt at one plan.

    Args:
        desk: the coordinator's messages.
        deadlines: say how long a lane may take to go on; None where nobody is watched.
        oversight: knows what was said; None where nothing is checked, and nothing is signed.
        plan: that is played.
        first: the slot of the attempt that is named first; run, view, attempt and step are taken from it.
        disputes: of the run.
    """

    desk: Desk
    deadlines: Deadlines | None
    oversight: Oversight | None
    plan: Plan
    first: Slot
    disputes: Disputes
    _waiting: Waiting = field(init=False)
    _handed: list[tuple[str, Point]] = field(default_factory=list)
    """To whom something was handed on, until it is known whether that helped."""
    _done: int = -1
    _stalled_s: float = 0.0
    _excused_s: float = 0.0
    _unseen_s: float = 0.0
    """Waited since the last look."""

    def __post_init__(self) -> None:
        self._waiting = Waiting(self.plan, self._said, self._passed)
        if self._witness:
            self._witness.begin()

    def leave_out(self, micro_batches: Sequence[int]) -> None:
        """These are run again later."""
        if micro_batches:
            self._waiting.void.update(micro_batches)
            self._stalled_s = 0.0

    def end(self, host: str) -> None:
        """A host's lane is done."""
        self._waiting.played.add(host)

    async def look(self, waited_s: float, talk: Correspondence) -> None:
        """So long was waited in vain since the last call.

        Raises:
            HostsLost: who keeps the others waiting.
        """
        self._unseen_s += waited_s
        if self.deadlines is None or self.desk.dues is None or self._unseen_s < self.deadlines.terms.look_s:
            return
        self._stalled_s += self._unseen_s
        self._unseen_s = 0.0
        self._waiting.corrected = {
            (host, slot.place) for host, slot in self.desk.dues.corrected if self._slot(slot.place) == slot
        }
        standing = self._waiting.stand()
        if standing.done > self._done:
            self._done, self._stalled_s = standing.done, 0.0
            self._settle_disputes(standing)
        await self._judge(standing, self.deadlines, talk)

    async def _judge(self, standing: Standing, deadlines: Deadlines, talk: Correspondence) -> None:
        waited_for = [lane for lane in self.plan.lanes if lane.host not in self._waiting.played]
        speeds = {host.name: host.speed for host in self.plan.hosts}
        may_s = {lane.host: deadlines.lane_s(lane, speeds[lane.host]) for lane in waited_for}
        if not may_s or self._stalled_s < min(may_s.values()):
            return
        held_up = self._excused_s < deadlines.terms.held_up_s and any(map(self._is_held_up, may_s))
        if INITIATOR in standing.ready or held_up:
            self._excused_s += self._stalled_s if held_up else 0.0
            self._stalled_s = 0.0  # its own machine is slow, or somebody else's line is in the way: nobody is judged
            return
        late = {host: point for host, point in standing.ready.items() if self._stalled_s >= may_s[host]}
        if late:
            self._lose({host: str(point) for host, point in late.items()})
        if not standing.ready and self._stalled_s >= max(may_s.values()):
            await self._hand_on(standing.unsure, talk)
            self._handed += standing.stuck
            self._stalled_s = 0.0

    def _lose(self, late: dict[str, str]) -> None:
        for host, what in late.items():
            self.desk.lose(host, what, self._stalled_s)
        raise HostsLost(late)

    def _settle_disputes(self, standing: Standing) -> None:
        """Somebody has gone on: whoever was handed a tensor and is not behind it any more had missed it."""
        helped = [(host, point) for host, point in self._handed if self._went_on(host, point, standing)]
        self._handed = [each for each in self._handed if each not in helped]
        losers = {self.disputes.add(point.peer, host): str(point) for host, point in helped if point.peer != host}
        if losers := {host: what for host, what in losers.items() if host}:
            self._lose(losers)

    def _went_on(self, host: str, point: Point, standing: Standing) -> bool:
        if point.thing is not Thing.HEADER:
            return standing.reached[host] > point.at
        checked = (Settlement, Alert, Inquiry)
        return any(isinstance(signed.statement, checked) for signed in self._said(point.place))

    async def _hand_on(self, unsure: Sequence[tuple[str, Point]], talk: Correspondence) -> None:
        """Give everybody what may not have come, from who says that it has it.

        Raises:
            HostsLost: somebody does not show what it has signed for.
        """
        for host, point in unsure:
            if point.thing is Thing.TENSOR:
                await self._hand_tensor(host, point, talk)
            else:
                await self._hand_notes(host, point)
            self._waiting.handed.add((host, point.thing, point.place))

    async def _hand_tensor(self, host: str, point: Point, talk: Correspondence) -> None:
        slot = self._slot(point.place)
        shown: Shown = await talk.show(point.peer, slot)
        if shown.tensor is None or shown.header is None:
            self._lose({point.peer: str(point)})
            return
        frame = TensorFrame(slot=slot, source=point.peer, destination=host, tensor=shown.tensor, header=shown.header)
        await self.desk.send(host, frame)

    async def _hand_notes(self, host: str, point: Point) -> None:
        kind = Header if point.thing is Thing.HEADER else Settlement
        for signed in self._said(point.place):
            if isinstance(signed.statement, kind):
                await self.desk.send(host, Note(signed=signed))

    @property
    def _witness(self) -> Witness | None:
        return self.deadlines.witness if self.deadlines else None

    def _is_held_up(self, host: str) -> bool:
        return self._witness is not None and self._witness.is_held_up(host)

    def _slot(self, place: Place) -> Slot:
        direction, stage, micro_batch = place
        return replace(self.first, direction=direction, stage=stage, micro_batch=micro_batch)

    def _said(self, place: Place) -> Sequence[Signed[Any]]:
        return self.oversight.words(self._slot(place)) if self.oversight else ()

    def _passed(self, thing: Thing, place: Place, source: str, destination: str) -> bool | None:
        if self._witness is None:
            return None
        slot = self._slot(place)
        if thing is Thing.TENSOR:
            return self._witness.passed(slot, source, SERVER if self.plan.topology == "star" else destination)
        kind = Header if thing is Thing.HEADER else Settlement
        said = [signed for signed in self._said(place) if isinstance(signed.statement, kind)]
        return self._witness.passed(slot, source, destination, said)


def first_slot(run: str, view: int, attempt: int, step: int) -> Slot:
    """The slot of an attempt that is named first."""
    return Slot(run=run, view=view, attempt=attempt, step=step, micro_batch=0, direction=Direction.FORWARD, stage=0)
