"""Who takes part in a run: invitations, members, and how members are named."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shieldwall.core.errors import EnrolmentError
from shieldwall.core.ids import COORDINATOR, DIRECTORY, INITIATOR, MUSTER, SERVER

LONGEST_NAME = 32
_NAME = re.compile(rf"[a-z0-9]([a-z0-9-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")
_RESERVED = {INITIATOR, COORDINATOR, DIRECTORY, SERVER, MUSTER, "referee", "shieldwall", "guest"}
_NO_WISH = "worker"


class State(StrEnum):
    """Where a member stands."""

    ACTIVE = "active"
    """May connect while a certificate of its is good."""
    BANNED = "banned"
    """May not connect, nor come back with any ticket."""
    LEFT = "left"
    """Took its leave; comes back with a ticket."""


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """What the run remembers of a ticket: not its secret, but the root of the key derived from it."""

    id: str
    """`key_id` of the guests' key."""
    root_der: bytes
    """The root certificate of the guests' key; trusted in handshakes while the invitation is remembered."""
    expires: datetime
    uses: int
    """How many members it is for."""
    used: int = 0
    """How many have come with it."""

    def is_open(self, now: datetime) -> bool:
        """Whether somebody new can still join with it."""
        return now < self.expires and self.used < self.uses


@dataclass(frozen=True, kw_only=True)
class Member:
    """One signing key and the name that the run calls it by."""

    name: str
    signing_key: bytes
    """Ed25519 public key, 32 bytes: what it is known by for good."""
    state: State
    since: datetime
    """When it came into this state."""
    why: str = ""
    """The reason for the state, in words."""
    certified_until: datetime | None = None
    """When the last of its certificates ends."""


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody whose proofs of both keys have been checked and who is now to be written down."""

    signing_key: bytes
    """Ed25519 public key, 32 bytes."""
    tls_key: str
    """`key_id` of the key in the certificate to be issued."""
    wish: str
    """The name that it would like; "" for any."""
    certified_until: datetime


def choose_name(wish: str, taken: Container[str]) -> str:
    """The name that is wished for, or the first free one of NAME-2, NAME-3, ... where another key has it.

    A name once given stays its key's, also when its member was banned or has left, so that a name in the ledger is one
    party for good. Without a wish the names are worker-1, worker-2, ...

    Raises:
        EnrolmentError: SW-T224; no member can be called that.
    """
    if wish and (not _NAME.fullmatch(wish) or wish in _RESERVED):
        raise EnrolmentError(
            "SW-T224",
            "no member can have this name",
            expected=f"1 to {LONGEST_NAME} of a-z, 0-9 and -, none at an end but a letter or digit; not one of "
            + ", ".join(sorted(_RESERVED)),
            got=repr(wish[:80]),
            remedy="ask for another name, or for none",
        )
    if wish and wish not in taken:
        return wish
    number = 2 if wish else 1
    while f"{wish or _NO_WISH}-{number}" in taken:
        number += 1
    return f"{wish or _NO_WISH}-{number}"
