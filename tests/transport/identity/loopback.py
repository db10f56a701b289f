"""A real gRPC server on the loopback with a run's gate before it, and clients of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import grpc

from shieldwall.core.errors import EnrolmentError, TicketError
from shieldwall.transport.identity.authority import SERVER_HOST
from shieldwall.transport.identity.certificates import Credential
from shieldwall.transport.identity.enrolment import EnrolmentRequest
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.members import Member
from shieldwall.transport.identity.reply import read_refusal, refusal_bytes


class GateService(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers who somebody is, and enrols and renews; each answer begins with + or -."""

    def __init__(self, gate: Gate, now: datetime) -> None:
        self.gate = gate
        self.now = now
        self.calls = 0

    def service(self, details: Any) -> Any:
        def answer(content: bytes, context: Any) -> bytes:
            self.calls += 1
            try:
                return b"+" + self._answer(details.method, content, context.auth_context()["x509_pem_cert"][0])
            except (EnrolmentError, TicketError) as error:
                return b"-" + refusal_bytes(error)

        return grpc.unary_unary_rpc_method_handler(answer)

    def _answer(self, method: str, content: bytes, certificate: bytes) -> bytes:
        peer = self.gate.peer(certificate, self.now)
        if method == "/gate/who":
            return f"member {peer.name}".encode() if isinstance(peer, Member) else b"guest"
        do = self.gate.admit if method == "/gate/enrol" else self.gate.renew
        return do(EnrolmentRequest.from_bytes(content), peer, self.now).to_bytes()


class Loopback:
    """A server that listens.

    Args:
        service: with the run's gate.
        port: where it does.
    """

    def __init__(self, service: GateService, port: int) -> None:
        self.service = service
        self.port = port

    def call(self, credential: Credential, authority_pem: bytes, method: str = "who", content: bytes = b"") -> bytes:
        """The answer of the server.

        Raises:
            TicketError, EnrolmentError: as the run refused.
            grpc.RpcError: the handshake failed.
        """
        shown = grpc.ssl_channel_credentials(
            authority_pem, credential.private_key_pem, credential.certificate_chain_pem
        )
        options = [("grpc.ssl_target_name_override", SERVER_HOST), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(f"127.0.0.1:{self.port}", shown, options) as channel:
            answer: bytes = channel.unary_unary(f"/gate/{method}")(content, timeout=30)
        if answer[:1] == b"-":
            raise read_refusal(answer[1:])
        return answer[1:]


@contextmanager
def listening(gate: Gate, now: datetime, shows: Credential | None = None) -> Iterator[Loopback]:
    """A server of the run; `shows` takes the place of its own credential."""
    credential = shows or gate.server

    def configuration() -> Any:
        pair = (credential.private_key_pem, credential.certificate_chain_pem)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=gate.roots(now))

    service = GateService(gate, now)
    server = grpc.server(ThreadPoolExecutor(2), handlers=(service,))
    credentials = grpc.dynamic_ssl_server_credentials(configuration(), configuration, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield Loopback(service, port)
    finally:
        server.stop(None).wait()
