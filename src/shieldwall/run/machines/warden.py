"""Sends workers away: after a verdict, and when somebody bans one by hand beside the run. Its key comes back with no
ticket, for the book of members is asked at each call.

    verdict -> duties go over -> banned in the book -> connections cut, with the reason
    shieldwall ban            -> seen in the book   -> connections cut -> lost: duties go over as from a dead one
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from shieldwall.core.errors import IdentityError, ShieldwallError, StorageError
from shieldwall.run.machines.directory import Directory
from shieldwall.run.machines.register import Register
from shieldwall.run.machines.sentry import Sentry
from shieldwall.transport.identity.book import Book
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.members import State
from shieldwall.transport.identity.refusals import banned
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.server import WireServer

_LOOK = timedelta(seconds=0.25)


class Warden:
    """One run's.

    Args:
        book: of members; other processes write to it, too.
        server: has the connections.
        hub: knows whose links stand.
        sentry: tells the coordinator who is lost.
        register: writes down how everybody stands.
        directory: knows which way letters go; None in a star.
        tell: told what happens, in words.
    """

    def __init__(
        self,
        *,
        book: Book,
        server: WireServer,
        hub: Hub,
        sentry: Sentry,
        register: Register,
        directory: Directory | None = None,
        tell: Callable[[str], None],
    ) -> None:
        self._book = book
        self._server = server
        self._hub = hub
        self._sentry = sentry
        self._directory = directory
        self._tell = tell
        self._sent_away: set[str] = set()
        self._trouble = ""
        self.register = register

    @property
    def banned(self) -> frozenset[str]:
        """Everybody with whom the run has nothing more to do, as it was seen last."""
        return frozenset(self._sent_away)

    async def revoke(self, name: str, why: str) -> None:
        """Ban a worker whose duties have gone over, and cut its connections.

        Raises:
            IdentityError: SW-T214; nobody is called that.
            StorageError: SW-S101; it is not banned.
        """
        self._sent_away.add(name)
        member = self._book.ban(name, why, utc_now())
        await self._sentry.dismiss(name, holds=False)  # first: to the coordinator it is not lost
        await self._server.send_away(name, banned(member))

    async def watch(self) -> None:
        """Until cancelled: cut off whoever is banned by hand, and keep the register."""
        while True:
            try:
                await self.look()
            except (IdentityError, StorageError) as error:
                self._tell_once(error)
            await asyncio.sleep(_LOOK.total_seconds())

    async def look(self) -> None:
        """See once who is banned and who is there.

        Raises:
            IdentityError: SW-T212; the book cannot be read.
            StorageError: SW-S101; `workers.json` cannot be written.
        """
        members = self._book.members()
        for member in members:
            if member.state is not State.BANNED:
                self._sent_away.discard(member.name)
            elif member.name not in self._sent_away:
                self._sent_away.add(member.name)
                self._tell(f"{member.name} is banned: {member.why}")
                await self._server.send_away(member.name, banned(member))
                await self._sentry.dismiss(member.name, holds=True)
        there = {name: address for name, address in self._server.addresses.items() if name in self._hub.links}
        ways = {name: self._directory.ways_of(name) for name in there} if self._directory else {}
        await self.register.update(members, there, ways)

    def close(self) -> None:
        """The run is not on any more."""
        try:
            self.register.close()
        except StorageError as error:
            self._tell_once(error)

    def _tell_once(self, trouble: ShieldwallError) -> None:
        if trouble.code != self._trouble:
            self._tell(f"who is banned and who is there is not known: {trouble.summary} ({trouble.code})")
            self._trouble = trouble.code
