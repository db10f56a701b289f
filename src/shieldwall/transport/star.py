"""The transport inside one process for a star: hosts reach the initiator's coordinator and server, and nobody else."""

from __future__ import annotations

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import COORDINATOR, MUSTER, SERVER
from shieldwall.core.messages import Message
from shieldwall.transport.memory import MemoryNetwork

_CENTRE = frozenset({COORDINATOR, MUSTER, SERVER})


def touches_centre(sender: str, destination: str) -> bool:
    """Whether a message begins or ends at the centre, as all of a star do."""
    return not _CENTRE.isdisjoint({sender, destination})


class StarNetwork(MemoryNetwork):
    """Peers of one process, all of whose messages begin or end at the centre."""

    def deliver(self, sender: str, destination: str, message: Message) -> None:
        """As `MemoryNetwork.deliver`.

        Raises:
            TransportError: SW-T101, nobody is called that; SW-T106, from one host to another.
        """
        if not touches_centre(sender, destination):
            raise TransportError(
                "SW-T106",
                f"{sender} sends to {destination} past the server",
                expected=f"messages of hosts to {COORDINATOR} or {SERVER}",
                got=f"{type(message).__name__} from {sender} to {destination}",
                remedy="in a star address it to the server; hosts talk to each other in a chain",
            )
        super().deliver(sender, destination, message)
