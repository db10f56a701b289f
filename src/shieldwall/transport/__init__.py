"""Frames between named peers. `base.py` says what a transport owes; `memory.py` is the one inside a process."""

from shieldwall.transport.base import Endpoint, Network
from shieldwall.transport.memory import MemoryNetwork

__all__ = ["Endpoint", "MemoryNetwork", "Network"]
