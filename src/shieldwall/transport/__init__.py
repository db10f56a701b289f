"""Frames between named peers. `base.py` says what a transport owes; `memory.py` and `star.py` work inside a process.

`identity/` is who may take part: tickets, certificates, members. Names are imported when they are used, so that a
command that deals with tickets alone needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shieldwall.transport.base import Endpoint, Network
    from shieldwall.transport.memory import MemoryNetwork
    from shieldwall.transport.star import StarNetwork

__all__ = ["Endpoint", "MemoryNetwork", "Network", "StarNetwork"]

_HOME = {"Endpoint": "base", "MemoryNetwork": "memory", "Network": "base", "StarNetwork": "star"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'shieldwall.transport' has no attribute {name!r}")
    return getattr(import_module(f"shieldwall.transport.{_HOME[name]}"), name)
