"""Why two ends of a wire part."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.core.errors import ShieldwallError, TransportError
from shieldwall.transport.identity.reply import read_refusal


def refused(peer: str, why: str) -> TransportError:
    """The error SW-T109: the other end will not have this one."""
    return TransportError(
        "SW-T109",
        f"{peer} refuses the connection",
        where=peer,
        expected="to be taken in",
        got=why,
        remedy="do what its answer says",
    )


def read_answer(peer: str, details: str) -> ShieldwallError:
    """The error that the other end answered with: in its own words where it says who may come in, else SW-T109."""
    return read_refusal(details.encode(), peer) if details.startswith("{") else refused(peer, details)


def session_forgotten(name: str) -> TransportError:
    """The error SW-T111: the initiator knows nothing of what was under way."""
    return TransportError(
        "SW-T111",
        f"the session of {name} is not known any more",
        expected="a session of this process of the initiator",
        got="one that was given up, or of a process before",
        remedy="dial again with a new session; join does so by itself",
    )


def link_lost(why: str, addresses: Sequence[str] = ()) -> TransportError:
    """The error SW-T112: nobody is there any more."""
    return TransportError(
        "SW-T112",
        "the initiator cannot be reached",
        where=", ".join(addresses),
        expected="an answer",
        got=why,
        remedy="see that the run is there and that its port can be reached: shieldwall doctor TICKET looks. The same"
        " join command comes back to it",
    )
