"""A proxy of TCP that is as bad as a real line: delay, a rate, silence in one direction or both, broken connections.

    python -m shieldwall.transport.faulty 127.0.0.1:7701 127.0.0.1:7700 --delay-s 0.04 --rate-bytes-s 25e6

Whoever is to be reached over the bad line is given the proxy's address. What passes stays whole: it is TLS that is
carried, and a line that changed bytes would end the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import typer

_READ_BYTES = 256 << 10


@dataclass(slots=True)
class Line:
    """How one direction behaves; may be changed while connections stand."""

    delay_s: float = 0.0
    """From when a byte comes in to when it goes out."""
    rate_bytes_s: float = 0.0
    """At most; 0 is as fast as it goes."""
    silent: bool = False
    """Bytes are kept and not passed on: what a partition or a machine without power looks like."""


class FaultyProxy:
    """Accepts connections and carries each to `target` over two lines.

    Args:
        target: HOST and port.
        there: the line from who connects to the target.
        back: the line from the target.
    """

    def __init__(self, target: tuple[str, int], there: Line | None = None, back: Line | None = None) -> None:
        self._target = target
        self.there = there or Line()
        self.back = back or Line()
        self.carried_bytes = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        """One for each connection; to cancel it ends the connection."""
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
        """Listen while the block runs; gives the port."""
        server = await asyncio.start_server(self._accept, host, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await self.break_connections()

    async def break_connections(self) -> None:
        """End every connection that stands, at both ends."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def set_silent(self, *, there: bool, back: bool) -> None:
        """Cut one direction or both off, or let them through again; nothing is lost by itself."""
        async with self._changed:
            self.there.silent, self.back.silent = there, back
            self._changed.notify_all()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._open.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._open.discard(task)
            writer.transport.abort()  # the task may have been cancelled before it began

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        lines = [
            asyncio.create_task(self._line(reader, far_writer, self.there)),
            asyncio.create_task(self._line(far_reader, writer, self.back)),
        ]
        try:
            await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for line in lines:
                line.cancel()
            await asyncio.gather(*lines, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
        """Bytes come in at once and go out when they have been under way for long enough."""
        under_way: deque[tuple[float, bytes]] = deque()
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        reading = asyncio.create_task(_read(reader, under_way, line, came))
        try:
            while True:
                while not under_way:
                    if reading.done():
                        return
                    came.clear()
                    await came.wait()
                due_s, content = under_way.popleft()
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                if line.silent:
                    async with self._changed:
                        await self._changed.wait_for(lambda: not line.silent)
                writer.write(content)
                await writer.drain()
                self.carried_bytes += len(content)
        except ConnectionError:
            return
        finally:
            reading.cancel()


async def _read(
    reader: asyncio.StreamReader, under_way: deque[tuple[float, bytes]], line: Line, came: asyncio.Event
) -> None:
    loop = asyncio.get_running_loop()
    free_s = 0.0  # when the line has passed on what came before
    try:
        while content := await reader.read(_READ_BYTES):
            now_s = loop.time()
            free_s = max(free_s, now_s) + (len(content) / line.rate_bytes_s if line.rate_bytes_s else 0.0)
            under_way.append((free_s + line.delay_s, content))
            came.set()
            if line.rate_bytes_s:
                await asyncio.sleep(max(0.0, free_s - loop.time()))
    except ConnectionError:
        pass
    finally:
        came.set()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return host, int(port)


def main(listen: str, target: str, delay_s: float = 0.0, rate_bytes_s: float = 0.0) -> None:
    """Carry what comes to LISTEN on to TARGET over a bad line, the same in both directions, until it is stopped."""

    async def play() -> None:
        proxy = FaultyProxy(_address(target), Line(delay_s, rate_bytes_s), Line(delay_s, rate_bytes_s))
        host, port = _address(listen)
        async with proxy.listening(host, port):
            await asyncio.Event().wait()

    asyncio.run(play())


if __name__ == "__main__":
    typer.run(main)
