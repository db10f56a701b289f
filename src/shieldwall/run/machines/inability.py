"""What a worker does that cannot go on, because its memory or its disk is full: says so, and ends.

The run then need not wait until its silence is noticed, and nobody is blamed. What the worker held is held by others.
"""

from __future__ import annotations

import asyncio
import traceback

from shieldwall.core.errors import NoMemoryError, StorageError
from shieldwall.core.ids import MUSTER
from shieldwall.core.messages import Unable
from shieldwall.core.out_of_memory import is_out_of_memory
from shieldwall.transport.base import Endpoint
from shieldwall.transport.remote.link import Link

MEMORY, DISK = "memory", "disk"
KINDS = (MEMORY, DISK)
"""All that a worker may say; what it says besides is taken as silence is."""


def inability_of(error: BaseException) -> str:
    """ "memory" or "disk" where `error` says that there is none left; "" for every other error."""
    if isinstance(error, StorageError):
        return DISK
    return MEMORY if is_out_of_memory(error) else ""


async def take_leave(
    error: BaseException, endpoint: Endpoint, link: Link, dialling: asyncio.Task[None], within_s: float
) -> None:
    """Tell the run why this worker ends, where the line to it still stands; frees first what the error holds.

    The run has heard it when it says so, or when it ends the connection.
    """
    if inability_of(error) == MEMORY:
        traceback.clear_frames(error.__traceback__)

    async def tell() -> None:
        await endpoint.send(MUSTER, Unable(host=endpoint.name, kind=inability_of(error)))
        await link.flushed()

    telling = asyncio.create_task(tell())
    await asyncio.wait({telling, dialling}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


def no_memory(error: BaseException, name: str, run: str) -> NoMemoryError:
    """SW-S201, for a worker."""
    return NoMemoryError(
        "SW-S201",
        f"{name} has run out of memory",
        where=f"run {run}",
        expected="memory for the stages and duplicates that it held, and for what it was to take over",
        got=(str(error).splitlines() or [""])[0][:200] or type(error).__name__,
        state="the run goes on without this worker; others hold what it held",
        remedy="free some memory, or raise this process's limit (ulimit -v, the container's), and join again with the"
        " same command; the run gives it what fits",
    )
