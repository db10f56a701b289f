"""How good the line to a run is: round trip, and bandwidth each way. Loads are bounded, and mean nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import grpc

from shieldwall.core.errors import TransportError
from shieldwall.run.machines.doctor.finding import Finding, bad, good
from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.run.memory import format_bytes
from shieldwall.transport.remote.channel import PING_TIMEOUT_S
from shieldwall.transport.remote.probe import LARGEST_LOAD_BYTES, Prober

Way = Literal["there", "back"]

_FIRST_LOAD_BYTES = 64 << 10
_MOST_AT_ONCE = 16
_LONG_ENOUGH_S = 0.25
_ROUND_TRIPS = 4
"""A load is large enough once it takes this many round trips, so that the first of them hardly counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWork:
    """What is measured.

    Args:
        address: over which, for the lines.
        frame_bytes: the largest tensor that crosses a border, 0 where it is not known.
        round_trips: how many.
        bandwidth: whether that is measured too; up to 16 MiB each way.
    """

    address: str
    frame_bytes: int
    round_trips: int
    bandwidth: bool


async def examine_line(channel: grpc.aio.Channel, work: LineWork, limits: Limits) -> list[Finding]:
    """Measure the line of an open channel; nobody else should use it meanwhile."""
    prober = Prober(channel, limits.answer_s)
    found: list[Finding] = []
    try:
        await prober.ask()  # the handshakes are over after it
        times_s = [await prober.carry() for _ in range(work.round_trips)]
        found.append(check_round_trip(times_s, work.address, limits.round_trip_s))
        for way in ("there", "back") if work.bandwidth else ():
            bytes_s = await measure_bandwidth(prober, way, median(times_s))
            found.append(check_bandwidth(bytes_s, way, work, limits.bandwidth_bytes_s))
    except grpc.aio.AioRpcError as error:
        found.append(_lost(work.address, str(error.details())))
    except TransportError as error:
        found.append(_lost(work.address, error.got))
    return found


def check_round_trip(times_s: Sequence[float], address: str, limit_s: float) -> Finding:
    """Whether round trips leave room before a connection counts as dead.

    The median decides: a single long one may be the run's own process at work, which delays no ping.
    """
    middle, worst = (f"{each * 1000:.1f} ms" for each in (median(times_s), max(times_s)))
    saw = f"{middle} (median), {worst} (worst of {len(times_s)})"
    if median(times_s) <= limit_s:
        return good("round trip", saw, address)
    saw += f"; a connection that does not answer for {PING_TIMEOUT_S:g} s is broken off"
    remedy = "take a nearer machine or another line; see that no download or VPN fills this one"
    return bad("round trip", saw, remedy, address, prevents=False)


def check_bandwidth(bytes_s: float, way: Way, work: LineWork, least_bytes_s: float) -> Finding:
    """Whether a line is fast enough one way for a connection to live; and what it means for the plan."""
    saw = f"at least {format_bytes(round(bytes_s))}/s"
    if work.frame_bytes:
        frame_s = work.frame_bytes / bytes_s
        took = f"{frame_s:.1f} s" if frame_s >= 1 else f"{frame_s * 1000:.3g} ms"
        saw += f", so {took} for the largest tensor of the plan"
    check, about = f"bandwidth {'to' if way == 'there' else 'from'} the run", work.address
    if bytes_s >= least_bytes_s:
        return good(check, saw, about)
    saw += f"; {format_bytes(round(least_bytes_s))}/s are the least that works well"
    remedy = "take another line, or join from a machine that has one"
    return bad(check, saw, remedy, about, prevents=False)


async def measure_bandwidth(prober: Prober, way: Way, round_trip_s: float) -> float:
    """Bytes each second, at least, over connections that are open: loads grow until one takes long enough to tell.

    Raises:
        grpc.aio.AioRpcError: the connection was lost, or a load did not pass in time.
        TransportError: SW-T107.
    """
    load_bytes, at_once = _FIRST_LOAD_BYTES, 1
    while True:
        sizes = (load_bytes, 0) if way == "there" else (0, load_bytes)
        took_s = max(await asyncio.gather(*(prober.carry(*sizes) for _ in range(at_once))))
        grown = load_bytes == LARGEST_LOAD_BYTES and at_once == _MOST_AT_ONCE
        if grown or took_s >= max(_LONG_ENOUGH_S, _ROUND_TRIPS * round_trip_s):
            return at_once * load_bytes / took_s
        if load_bytes < LARGEST_LOAD_BYTES:
            load_bytes *= 4
        else:
            at_once *= 2


def _lost(address: str, why: str) -> Finding:
    saw = f"the connection was lost, or too slow, while it was measured: {' '.join(why.split())[:160]}"
    return bad("line", saw, "try again; if it is so each time, take another line or machine", address, prevents=False)
