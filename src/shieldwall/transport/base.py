"""What every transport owes to the hosts that talk over it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from shieldwall.core.errors import TransportError
from shieldwall.core.messages import Message


class Endpoint(Protocol):
    """One peer's end: it sends to peers by name and receives what they send.

    Messages of one sender arrive at one receiver in the order in which they were sent; nothing is promised across
    senders. Tensors arrive bit for bit.
    """

    @property
    def name(self) -> str:
        """The peer's own name."""

    async def send(self, destination: str, message: Message) -> None:
        """Hand `message` over for `destination`; may wait while the receiver is far behind.

        Raises:
            TransportError: SW-T101; nobody of that name is known.
        """

    async def receive(self) -> Message:
        """The next message, waiting for one."""

    @property
    def sender(self) -> str:
        """Who sent the message that `receive` gave last.

        It is the transport's word, from what the sender cannot choose: its own end, or the certificate it holds. What
        the message says about its sender is the sender's word.
        """

    @property
    def arrived_s(self) -> float:
        """`time.perf_counter()` of this machine when the message that `receive` gave last had come in.

        A host that computes takes its messages late; what it measures, it measures from here.
        """


class Network(Protocol):
    """Gives peers their endpoints."""

    def join(self, name: str) -> Endpoint:
        """The endpoint of the peer called `name`.

        Raises:
            TransportError: SW-T102; somebody of that name is there already.
        """


def unknown_peer(name: str, known: Iterable[str]) -> TransportError:
    """The error SW-T101: nobody is called that."""
    return TransportError(
        "SW-T101",
        f'nobody is called "{name}"',
        expected=f"one of: {', '.join(sorted(known))}",
        got=name,
        remedy="check the hosts of the plan",
    )


def name_taken(name: str, known: Iterable[str]) -> TransportError:
    """The error SW-T102: somebody is called that already."""
    return TransportError(
        "SW-T102",
        f'a peer called "{name}" is there already',
        expected="a name of its own for each peer",
        got=f"peers: {', '.join(sorted(known))}",
        remedy="give the new peer another name",
    )
