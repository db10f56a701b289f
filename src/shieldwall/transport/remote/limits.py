"""What strangers, guests and members may take of an open port, whatever they send.

                         who                       how much
    connections          everybody                 2,048, or half of the files that the process may open
    before TLS stands    everybody                 10 s, then the connection is closed
    without a call       who has a certificate     10 s
    calls at once        of one connection         32
                         of one ticket or member   32; of all guests together 48
    a request            guests and members        10 s until it is there, and `channel.LARGEST_MESSAGE_BYTES`
    a new session        of one member             ten in a second; further ones wait their turn

A connection costs a file and some 60 KiB until its handshake is over or its time is up.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shieldwall.core.errors import TransportError
from shieldwall.transport.identity.members import Invitation, Member

HANDSHAKE_S = 10.0
"""For TLS to stand, and the greeting of HTTP/2 after it."""
REQUEST_S = 10.0
"""For the first message of a call to be there."""
SESSION_EVERY_S = 0.1
"""Between two sessions that one member begins."""
_WITHOUT_CALL_S = 10.0
_MOST_CONNECTIONS = 2048
_CALLS_OF_A_CONNECTION = 32
_CALLS_OF_A_PEER = 32
_CALLS_OF_GUESTS = 48
_METADATA_BYTES = 8192


def limiting_options() -> tuple[tuple[str, Any], ...]:
    """What gRPC sees to by itself, below our code."""
    return (
        ("grpc.server_handshake_timeout_ms", int(1000 * HANDSHAKE_S)),
        ("grpc.max_connection_idle_ms", int(1000 * _WITHOUT_CALL_S)),
        ("grpc.max_allowed_incoming_connections", most_connections()),
        ("grpc.max_concurrent_streams", _CALLS_OF_A_CONNECTION),
        ("grpc.max_metadata_size", _METADATA_BYTES),
    )


def most_connections() -> int:
    """How many connections a port of this process may have: half of its files stay for everything else."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, files // 2)


def allow_files() -> None:
    """Let this process open as many files as a full port needs, where its own limit is lower and may be raised."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MOST_CONNECTIONS if most == resource.RLIM_INFINITY else min(2 * _MOST_CONNECTIONS, most)
    if now < wanted and now != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class Turnstile:
    """Counts the calls that are under way, by who has made them, so that no peer can fill the memory with them."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._guests = 0

    @contextmanager
    def inside(self, peer: Invitation | Member) -> Iterator[None]:
        """While the block runs, one more call of `peer` is under way.

        Raises:
            TransportError: SW-T113; there are as many as it may have, or as all guests may have.
        """
        guest = isinstance(peer, Invitation)
        who = f"ticket {peer.id[:16]}" if isinstance(peer, Invitation) else peer.name
        if self._inside[who] >= _CALLS_OF_A_PEER:
            raise _too_many_calls(who, _CALLS_OF_A_PEER)
        if guest and self._guests >= _CALLS_OF_GUESTS:
            raise _too_many_calls("all guests", _CALLS_OF_GUESTS)
        self._inside[who] += 1
        self._guests += guest
        try:
            yield
        finally:
            self._guests -= guest
            self._inside[who] -= 1
            if not self._inside[who]:
                del self._inside[who]


def _too_many_calls(who: str, most: int) -> TransportError:
    return TransportError(
        "SW-T113",
        "a peer has too many calls under way",
        where=f"calls of {who}",
        expected=f"at most {most} at once",
        got="one more",
        state="it was not looked at",
        remedy="wait for the answers of those before; shieldwall join never makes so many",
    )
