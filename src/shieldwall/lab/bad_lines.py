"""Bad lines in a process of their own, so that what they cost is nobody's: `python -m shieldwall.lab.bad_lines TASK`.

TASK is JSON: `lines`, a list of `port`, `delay_s` and `rate_bytes_s`. Each is a real TCP proxy on the loopback
interface that carries to `port`, the same in both directions; `delay_s` is the time that a byte takes one way. The
first line on standard output has their `ports` in the same order. The process ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shieldwall.lab.children import started
from shieldwall.transport.faulty import FaultyProxy, Line


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTask:
    """One line.

    Args:
        port: on this machine, to which it leads.
        delay_s: one way.
        rate_bytes_s: at most, each way; 0 is as fast as it goes.
    """

    port: int
    delay_s: float = 0.0
    rate_bytes_s: float = 0.0


@asynccontextmanager
async def bad_lines(lines: Sequence[LineTask], folder: Path, name: str = "lines") -> AsyncIterator[list[int]]:
    """The ports at which the lines begin, in their order, until the block ends.

    Raises:
        BenchmarkError: SW-B103; their process did not get ready.
    """
    task = {"lines": [asdict(line) for line in lines]}
    async with started("shieldwall.lab.bad_lines", task, name=name, folder=folder) as child:
        yield [int(port) for port in child.ready["ports"]]


async def _serve(lines: Sequence[LineTask]) -> None:
    async with AsyncExitStack() as standing:
        ports = [
            await standing.enter_async_context(
                FaultyProxy(
                    ("127.0.0.1", line.port),
                    Line(line.delay_s, line.rate_bytes_s),
                    Line(line.delay_s, line.rate_bytes_s),
                ).listening()
            )
            for line in lines
        ]
        print(json.dumps({"ports": ports}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve([LineTask(**line) for line in json.loads(sys.argv[1])["lines"]]))
