r"""The initiator's central server: in a star, every tensor and every statement between hosts passes it.

    worker-1 --- a1, once ---> server ---> worker-2, which computes on it
                                     \--> worker-3, which feeds it to the duplicate

A worker uploads a tensor once and cannot tell one receiver something else than another. The server looks at who sends
what, never into a tensor: what comes under a wrong header is refused by those who are to use it.

Source: the central server of Lu et al., arXiv 2312.00843, figure 3b.
"""

from __future__ import annotations

from dataclasses import replace

from shieldwall.core.ids import COORDINATOR, SERVER, Direction, Place, Slot
from shieldwall.core.messages import Message, Note, Relay, Route, Stop, TensorFrame, Way
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header, Settlement
from shieldwall.pipeline.dropped import Dropped
from shieldwall.schedule import Plan
from shieldwall.transport import Endpoint

_NOTHING = Route(run="", view=-1, attempt=-1, step=-1, hosts=(), ways={})


class Server:
    """Passes on what the lanes that are played call for, each tensor once, and drops everything else.

    Args:
        endpoint: its end of the transport.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._route = _NOTHING
        self._passed: dict[Slot, Signed[Header] | None] = {}
        """The header under which each slot's tensor went on."""
        self._stale: set[Place] = set()
        """Places for which a tensor of older work went on."""
        self.dropped = Dropped(endpoint.name)

    async def serve(self) -> None:
        """Pass on until the coordinator says to stop."""
        while True:
            message = await self._endpoint.receive()
            sender = self._endpoint.sender
            if sender == COORDINATOR and isinstance(message, Stop):
                return
            if sender == COORDINATOR and isinstance(message, Route):
                self._begin(message)
            elif isinstance(message, TensorFrame):
                await self._pass_tensor(sender, message)
            elif isinstance(message, Relay):
                await self._pass_note(sender, message)
            else:
                self.dropped.add(sender, message)

    def _begin(self, route: Route) -> None:
        self._route = route
        self._passed.clear()
        self._stale.clear()

    async def _pass_tensor(self, sender: str, frame: TensorFrame) -> None:
        """Pass a tensor on to those who use it, if it is its maker's to send and the first for its slot.

        Older work in the place of new goes on too, once: only its receivers can say that they were sent nothing else.
        """
        way = self._route.ways.get(frame.slot.place)
        age = _age(frame.slot, self._route)
        if way is None or way.source != sender or age < 0:
            self.dropped.add(sender, frame)
        elif age > 0 and frame.slot.place not in self._stale:
            self._stale.add(frame.slot.place)
            await self._send_on(way, frame)
        elif age == 0 and frame.slot not in self._passed:
            self._passed[frame.slot] = frame.header
            await self._send_on(way, frame)
        else:
            self.dropped.add(sender, frame)
            await self._hand_in(frame)

    async def _send_on(self, way: Way, frame: TensorFrame) -> None:
        for host in way.destinations:
            await self._endpoint.send(host, replace(frame, source=way.source, destination=host))

    async def _hand_in(self, frame: TensorFrame) -> None:
        """Show the coordinator both headers of a maker that signed two for one slot."""
        first, second = self._passed.get(frame.slot), frame.header
        if first is None or second is None or first.content == second.content:
            return
        for signed in (first, second):
            await self._endpoint.send(COORDINATOR, Note(signed=signed))

    async def _pass_note(self, sender: str, relay: Relay) -> None:
        """Pass on what hosts say to each other: own headers and settlements, from one who plays to one who plays."""
        signed, hosts = relay.note.signed, self._route.hosts
        own = signed.signer == sender and isinstance(signed.statement, (Header, Settlement))
        if own and sender in hosts and relay.destination in hosts:
            await self._endpoint.send(relay.destination, relay.note)
        else:
            self.dropped.add(sender, relay)


def addressed(destination: str, message: Message) -> tuple[str, Message]:
    """Where a host of a star sends a message, and in which form: notes to other hosts go through the server."""
    if isinstance(message, Note) and destination != COORDINATOR:
        return SERVER, Relay(destination=destination, note=message)
    return destination, message


def route_of(plan: Plan, *, run: str, view: int, attempt: int, step: int) -> Route:
    """The ways of all tensors of a plan: what each lane receives, and from whom."""
    ways: dict[Place, Way] = {}
    for lane in plan.lanes:
        for action in lane.actions:
            if action.kind.is_receive:
                direction = action.kind.direction if plan.training else Direction.EVALUATION
                place = (direction, action.stage, action.micro_batch)
                others = ways[place].destinations if place in ways else ()
                ways[place] = Way(action.peer, (*others, lane.host))
    hosts = tuple(lane.host for lane in plan.lanes)
    return Route(run=run, view=view, attempt=attempt, step=step, hosts=hosts, ways=ways)


def _age(slot: Slot, route: Route) -> int:
    """0 for work of the lanes that are played, 1 for older work of the same run, -1 for anything else."""
    if slot.run != route.run:
        return -1
    then, now = (slot.step, slot.attempt, slot.view), (route.step, route.attempt, route.view)
    return (now > then) - (now < then)
