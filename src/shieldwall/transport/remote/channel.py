"""Settings of gRPC that both ends share, and the ways to call the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from shieldwall.transport.codec import MAX_BODY_BYTES
from shieldwall.transport.identity.authority import SERVER_HOST
from shieldwall.transport.identity.certificates import Credential
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.link import BUNDLE_BYTES, PART_BYTES

SERVICE = "shieldwall.wire.v1.Wire"

LARGEST_MESSAGE_BYTES = BUNDLE_BYTES + max(MAX_BODY_BYTES, PART_BYTES) + (64 << 10)
WAY_BYTES = 32 << 20
"""What a connection may have under way each way: a gigabit a second over a line of 0.25 s there and back."""
_HTTP2_FRAME_BYTES = 256 << 10
PING_TIMEOUT_S = 1.0
"""A connection that has not answered for so long is broken off by either end."""
_PING_EVERY_MS = 1000
_PING_TIMEOUT_MS = int(1000 * PING_TIMEOUT_S)

COMMON_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.http2.lookahead_bytes", WAY_BYTES),
    ("grpc.http2.bdp_probe", 0),  # it would begin with 64 KiB, and after each rest find out anew how wide the line is
    ("grpc.http2.max_frame_size", _HTTP2_FRAME_BYTES),
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", _PING_EVERY_MS),
    ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),  # without it a stopped process is noticed after a minute
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
SERVER_OPTIONS = (
    *COMMON_OPTIONS,  # to which `limiting_options` are added when a port is opened
    ("grpc.http2.min_ping_interval_without_data_ms", _PING_EVERY_MS // 2),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server behind it
)
CLIENT_OPTIONS = (
    *COMMON_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),  # each lane is a connection of its own
    ("grpc.enable_retries", 0),
)


def open_channel(address: str, authority_pem: bytes, shown: Credential, host: str = SERVER_HOST) -> grpc.aio.Channel:
    """A channel to `HOST:PORT` over mutual TLS.

    Args:
        address: HOST:PORT.
        authority_pem: certificate of the run's authority; the other end's must be signed by it.
        shown: this end's key and certificate.
        host: DNS name in the other end's certificate: whose it is counts, not where it stands.
    """
    options = (*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", host))
    credentials = grpc.ssl_channel_credentials(authority_pem, shown.private_key_pem, shown.certificate_chain_pem)
    return grpc.aio.secure_channel(address, credentials, options=options)


def carry(channel: grpc.aio.Channel) -> Any:
    """A new call of `Carry`; its pieces are bytes, which the lane reads."""
    return channel.stream_stream(f"/{SERVICE}/Carry")()


async def ask(channel: grpc.aio.Channel, method: str, json: bytes, timeout_s: float) -> bytes:
    """One question in JSON, `Enrol` or `Renew`, and the answer.

    Raises:
        grpc.aio.AioRpcError: there is none.
    """
    call = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=wire.Plain.SerializeToString,
        response_deserializer=wire.Plain.FromString,
    )
    answer: wire.Plain = await call(wire.Plain(json=json), timeout=timeout_s)
    return bytes(answer.json)


def handlers(**methods: Any) -> Sequence[grpc.GenericRpcHandler]:
    """The service, from its four methods by name.

    Each gets the call as a stream of bytes, those with a single request too: so it knows who calls, and whether that is
    one call too many, before a byte of the request is taken in, and what is no protobuf is its own to refuse.
    """
    ways = {name: grpc.stream_stream_rpc_method_handler(method) for name, method in methods.items()}
    return [grpc.method_handlers_generic_handler(SERVICE, ways)]
