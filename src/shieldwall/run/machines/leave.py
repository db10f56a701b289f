"""SIGINT and SIGTERM let a worker leave in order: it works on until others hold what it holds."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Leaving
from shieldwall.transport.base import Endpoint

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130


class Leave:
    """What a worker does with a signal. The first asks the run to be let go; the second ends it at once.

    Args:
        tell: told what happens, in words.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._endpoint: Endpoint | None = None
        self._asking: asyncio.Task[None] | None = None
        self.asked = False
        """Whether a signal has come."""

    def works_through(self, endpoint: Endpoint) -> None:
        """From now on the worker may hold something, and asks over this endpoint."""
        self._endpoint = endpoint
        if self.asked:
            self._ask(endpoint)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """While the block runs, on an event loop in the main thread."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._note)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _note(self) -> None:
        if self.asked or self._endpoint is None:
            os._exit(_INTERRUPTED)
        self.asked = True
        self._tell("leaving as soon as others hold what this worker holds; another signal ends it at once")
        self._ask(self._endpoint)

    def _ask(self, endpoint: Endpoint) -> None:
        self._asking = asyncio.create_task(endpoint.send(COORDINATOR, Leaving(host=endpoint.name)))
