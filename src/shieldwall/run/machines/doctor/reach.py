"""The way to an address: does its name resolve, and does anybody take a connection there?"""

from __future__ import annotations

import asyncio
import ipaddress
import time

from shieldwall.run.machines.doctor.finding import Finding, bad, good


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port of an address of a ticket."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def check_name(host: str, connect_s: float) -> Finding | None:
    """Whether a host's name resolves; None where it is an address already."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return await _resolve(host, connect_s)
    return None


async def _resolve(host: str, connect_s: float) -> Finding:
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, None), connect_s)
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or f"no answer within {connect_s:g} s"
        remedy = "see that this machine's DNS works and knows the name, or have a ticket made with the run's IP address"
        return bad("name", f"it does not resolve: {why}", f"{remedy} (train --listen IP:PORT)", host)
    addresses = sorted({str(each[4][0]) for each in found})
    return good("name", f"is {', '.join(addresses)}", host)


async def check_port(address: str, connect_s: float) -> Finding:
    """Whether TCP connects to HOST:PORT; refused, no answer and no route each have another remedy."""
    host, port = split_address(address)
    began_s = time.perf_counter()
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), connect_s)
    except ConnectionRefusedError:
        saw = "refused: the machine is there, and nobody listens on that port"
        remedy = f"see that the run still goes on and listens (shieldwall train ... --listen 0.0.0.0:{port})"
        return bad("port", saw, remedy, address)
    except TimeoutError:
        saw = f"no answer within {connect_s:g} s: a firewall drops it, or the machine is off"
        remedy = f"let TCP port {port} through the firewall of the run's machine and of its network (cloud: its rules)"
        return bad("port", saw, remedy, address)
    except OSError as error:
        saw = f"no way there: {error.strerror or error}"
        remedy = f"bring both machines into one network (ip route get {host} shows the way), or take another address"
        return bad("port", saw, remedy, address)
    took_s = time.perf_counter() - began_s
    writer.transport.abort()
    return good("port", f"connects after {took_s * 1000:.1f} ms", address)
