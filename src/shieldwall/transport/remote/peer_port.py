"""The port of a worker that listens: other workers of the run dial it over mutual TLS, and nobody else gets through.

It answers the same calls as the initiator's port, with the worker's own certificate. Guests are not let through the
handshake, for the run's authority alone is trusted. It signs no names but those of the book of members, so here the
name in a certificate counts. Whether its bearer is still there, the run's directory says (`direct.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

from cryptography import x509

from shieldwall.core.errors import ShieldwallError, TransportError
from shieldwall.transport.identity.certificates import Credential, pem
from shieldwall.transport.identity.enrolment import EnrolmentAnswer, EnrolmentRequest, bad_request
from shieldwall.transport.identity.members import Invitation, Member, State
from shieldwall.transport.identity.reading import common_name, read_authority, read_chain
from shieldwall.transport.identity.refusals import unknown_key
from shieldwall.transport.remote.direct import DirectEndpoint
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.server import WireServer
from shieldwall.transport.remote.tally import Tally

_KINDS = frozenset({"TensorFrame", "Note"})
"""What one worker has to say to another; orders and reports are the coordinator's and for the coordinator."""


class PeerGate:
    """Lets members of the run in, by the name that its authority has signed.

    Args:
        shown: what this worker shows now.
        authority: certificate of the run's authority.
    """

    def __init__(self, shown: Callable[[], Credential], authority: x509.Certificate) -> None:
        self._shown = shown
        self._authority = authority

    @property
    def server(self) -> Credential:
        return self._shown()

    def roots(self, now: datetime) -> bytes:  # noqa: ARG002 (the initiator's roots end)
        return pem(self._authority)

    def peer(self, certificate_pem: bytes, now: datetime) -> Invitation | Member:
        try:
            name = common_name(read_chain(certificate_pem, self._authority))
        except ValueError as error:
            raise unknown_key("unreadable, or not of this run") from error
        return Member(name=name, signing_key=b"", state=State.ACTIVE, since=now)

    def admit(self, request: EnrolmentRequest, peer: Invitation | Member, now: datetime) -> EnrolmentAnswer:
        _ask_the_initiator(request, peer, now)

    def renew(self, request: EnrolmentRequest, peer: Invitation | Member, now: datetime) -> EnrolmentAnswer:
        _ask_the_initiator(request, peer, now)


def _ask_the_initiator(*_: object) -> NoReturn:
    raise bad_request("a request to the initiator", "one to a worker")


class Callers:
    """The links that other workers have dialled.

    Args:
        endpoint: takes what comes.
    """

    def __init__(self, endpoint: DirectEndpoint) -> None:
        self._endpoint = endpoint
        self._links: dict[str, Link] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}

    async def attach(self, link: Link) -> None:
        """A worker has dialled, or dialled anew; what an earlier link of it brought and nobody took comes again."""
        await self.detach(link.peer)
        self._links[link.peer] = link
        self._pumps[link.peer] = asyncio.create_task(self._pump(link), name=f"pump of {link.peer}")

    async def detach(self, name: str) -> None:
        """Let one link go."""
        link, pump = self._links.pop(name, None), self._pumps.pop(name, None)
        if link and pump:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await link.close()

    async def close(self) -> None:
        """Let all links go."""
        for name in list(self._links):
            await self.detach(name)

    async def _pump(self, link: Link) -> None:
        while (letter := await link.arrive()) is not None:
            try:
                await self._endpoint.take_direct(link.peer, letter)
            except TransportError as error:
                await link.give_up(error)
                return
            link.take(letter)


class PeerPort:
    """One worker's.

    Args:
        endpoint: of the worker.
        shown: what it shows now.
        authority: the certificate of the run's authority (DER).
        allowed_bytes: how many bytes a message of a kind may have.
        tell: told of what was refused, in words.
    """

    def __init__(
        self,
        endpoint: DirectEndpoint,
        shown: Callable[[], Credential],
        authority: bytes,
        allowed_bytes: Callable[[str], int],
        tell: Callable[[str], None],
    ) -> None:
        self._refused = Tally(tell)
        self._server = WireServer(
            Callers(endpoint),
            PeerGate(shown, read_authority(authority)),
            lambda kind: allowed_bytes(kind) if kind in _KINDS else 0,
            self._fault,
            introduce=endpoint.introduce,
        )
        endpoint.cuts_with(self._server.drop)

    async def listen(self, address: str) -> int:
        """Open the port; gives its number.

        Raises:
            TransportError: SW-T110; it cannot be opened.
        """
        return await self._server.listen(address)

    async def stop(self) -> None:
        """Close it, and all connections."""
        await self._server.stop()

    def _fault(self, peer: str, error: ShieldwallError) -> None:
        if error.code != "SW-T111":  # who comes back is told to begin anew, which is nobody's fault
            self._refused.refused(peer, error)
