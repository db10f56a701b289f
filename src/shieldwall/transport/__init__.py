"""Frames between named peers. `base.py` says what a transport owes; `memory.py` and `star.py` work inside a process."""

from shieldwall.transport.base import Endpoint, Network
from shieldwall.transport.memory import MemoryNetwork
from shieldwall.transport.star import StarNetwork

__all__ = ["Endpoint", "MemoryNetwork", "Network", "StarNetwork"]
