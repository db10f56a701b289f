"""A worker that something happens to, at the moment that was ordered: real signals, sent by the process to itself.

Who sends a signal from outside hits whatever the worker happens to do; only the worker knows when it has been told to
commit. The order is a file in its home, and so is the receipt.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from shieldwall.core.messages import Message
from shieldwall.lab.recovery.faults import CUTS, Fault, How, Moment, moment_of

_ORDER, _FIRED, _DONE = "fault.json", "fault.fired", "fault.done"
_LOOK_S = 0.001


def order(home: Path, fault: Fault) -> None:
    """Let it happen to the worker of this home."""
    for name in (_FIRED, _DONE):
        (home / name).unlink(missing_ok=True)
    written = home / f"{_ORDER}.partial"
    written.write_text(json.dumps({"moment": fault.moment, "how": fault.how}))
    written.rename(home / _ORDER)


def fired_s(home: Path) -> float | None:
    """`time.time()` when it happened; None before."""
    try:
        return float((home / _FIRED).read_text())
    except FileNotFoundError:
        return None


def tell_done(home: Path) -> None:
    """The line is cut: the worker, which has waited for that, goes on."""
    (home / _DONE).touch()


def watch(home: Path, message: Message) -> None:
    """Called with every message before the worker sees it."""
    path = home / _ORDER
    if not path.exists():
        return
    ordered = json.loads(path.read_text())
    if moment_of(message) is not Moment(ordered["moment"]):
        return
    path.unlink()
    written = home / f"{_FIRED}.partial"
    written.write_text(str(time.time()))
    written.rename(home / _FIRED)
    how = How(ordered["how"])
    if how in CUTS:
        while not (home / _DONE).exists():
            time.sleep(_LOOK_S)
        return
    os.kill(os.getpid(), signal.SIGKILL if how is How.KILL else signal.SIGSTOP)
