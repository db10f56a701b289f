"""SIGINT and SIGTERM ask a run to stop at the end of its step; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """While the block runs, signals are noted instead of ending the process.

    Yields:
        Whether one has come. Outside the main thread, where signals never arrive, always False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def note(number: int, _frame: FrameType | None) -> None:
        if came:
            os.write(sys.stderr.fileno(), b"stopped at once; what the last checkpoint holds is safe\n")
            os._exit(130)
        came.append(number)

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
