"""A hub that listens on loopback over mutual TLS, and ends that dial it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shieldwall.core.errors import ShieldwallError, TransportError
from shieldwall.transport.remote.channel import SERVER_NAME, open_channel
from shieldwall.transport.remote.dialer import Dialer, RemoteEndpoint
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.server import WireServer

ROOMY_BYTES = 1 << 30
PEM = serialization.Encoding.PEM


class Keys:
    """A certificate, its key, and the authority's certificate."""

    def __init__(self, name: str, issuer: Keys | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
            .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        self.certificate = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


AUTHORITY = Keys("authority")


class ListGate:
    """Knows members by their keys and lets nobody enrol."""

    def __init__(self, members: dict[bytes, str]) -> None:
        self.members = members

    def member(self, certificate: x509.Certificate) -> str:
        public = certificate.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        if public not in self.members:
            raise TransportError("SW-T109", "not a member")
        return self.members[public]

    async def enrol(self, certificate: x509.Certificate, request: bytes) -> bytes:
        raise TransportError("SW-T109", "nobody enrols here")

    async def renew(self, certificate: x509.Certificate, request: bytes) -> bytes:
        return request


@dataclass
class Wired:
    """A hub with its server, and what went wrong."""

    hub: Hub
    server: WireServer
    gate: ListGate
    port: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def opener(self, keys: Keys) -> Callable[[str], grpc.aio.Channel]:
        return lambda address: open_channel(address, AUTHORITY.pem, keys.key_pem, keys.pem)

    @contextlib.asynccontextmanager
    async def dialled(
        self, name: str, *, lanes: int = 1, address: str = "", allowed_bytes: int = ROOMY_BYTES
    ) -> AsyncIterator[RemoteEndpoint]:
        """The endpoint of a member that has dialled; its link is closed at the end."""
        keys = Keys(name, AUTHORITY)
        self.gate.members[keys.public] = name
        link = Link("initiator", lambda kind: allowed_bytes)
        dialer = Dialer(
            link=link,
            addresses=[address or self.address],
            open_channel=self.opener(keys),
            lanes=lanes,
            patience_s=20,
            on_change=lambda said: None,
        )
        keeping = asyncio.create_task(dialer.keep())
        try:
            yield RemoteEndpoint(name, link)
        finally:
            await link.close()
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


@contextlib.asynccontextmanager
async def wired(
    *, may_pass: Callable[[str, str], bool] = lambda source, destination: True, allowed_bytes: int = ROOMY_BYTES
) -> AsyncIterator[Wired]:
    """A hub that listens on a port of its own."""
    faults: list[tuple[str, str]] = []
    refusals: list[str] = []

    def refuse(peer: str, error: ShieldwallError) -> None:
        refusals.append(error.code)

    hub = Hub(may_pass, lambda peer, error: faults.append((peer, error.code)))
    gate = ListGate({})
    server = WireServer(hub, gate, lambda kind: allowed_bytes, refuse)
    keys = Keys(SERVER_NAME, AUTHORITY)
    credentials = grpc.ssl_server_credentials([(keys.key_pem, keys.pem)], AUTHORITY.pem, require_client_auth=True)
    port = await server.listen("127.0.0.1:0", credentials)
    try:
        yield Wired(hub, server, gate, port, faults, refusals)
    finally:
        await server.stop()
