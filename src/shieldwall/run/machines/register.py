"""The run's side of `workers.json`: what it knows of its workers, written down whenever it changes."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import psutil

from shieldwall.core.messages import View
from shieldwall.run.machines.claims import Claims
from shieldwall.run.machines.status import Deadlines, RunProcess, RunStatus, WorkerState, WorkerStatus, natural
from shieldwall.schedule import Host
from shieldwall.transport.identity.members import Member, State

Duties = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
"""Name to its stages and its duplicates."""


class Register:
    """One run's.

    Args:
        path: of `workers.json`.
        silence_s: for how long a worker may be silent.
        answer_s: for how long one of that name may keep an answer back.
    """

    def __init__(self, path: Path, silence_s: float, answer_s: Callable[[str], float]) -> None:
        self._path = path
        self._silence_s = silence_s
        self._answer_s = answer_s
        self._process = RunProcess.this()
        self._duties: Duties = {}
        self._claims: Claims | None = None
        self._pids: dict[str, int | None] = {}
        """By address."""
        self._written: RunStatus | None = None

    def see_hosts(self, hosts: Iterable[Host]) -> None:
        """Who holds what from now on."""
        self._duties = {host.name: (host.stages, host.duplicates) for host in hosts}

    def see_view(self, view: View) -> None:
        """The same from the order that everybody is given."""
        names = {*view.holders.values(), *view.checkers.values()}
        self._duties = {name: (_of(name, view.holders), _of(name, view.checkers)) for name in names}

    def see_claims(self, claims: Claims) -> None:
        """Where it stands what each says of its machine."""
        self._claims = claims

    async def update(
        self, members: Iterable[Member], addresses: Mapping[str, str], ways: Mapping[str, dict[str, str]] | None = None
    ) -> None:
        """Write down how things are, where they are not as before.

        Args:
            members: everybody who ever joined.
            addresses: where those who are there dial from.
            ways: how the letters of each of them go to the others.

        Raises:
            StorageError: SW-S101.
        """
        await self._find_pids(addresses.values())
        known = ways or {}
        found = (self._status(member, addresses.get(member.name), known.get(member.name, {})) for member in members)
        self._write(sorted(found, key=lambda worker: natural(worker.name)))

    def close(self) -> None:
        """The run is not on any more: whoever is there leaves.

        Raises:
            StorageError: SW-S101.
        """
        there = self._written.workers if self._written else ()
        self._write([each.without_duties(WorkerState.LEFT) if each.state.is_there else each for each in there])

    def _status(self, member: Member, address: str | None, ways: dict[str, str]) -> WorkerStatus:
        deadlines = Deadlines(silence_s=self._silence_s, answer_s=round(self._answer_s(member.name), 1))
        here = WorkerStatus(name=member.name, deadlines=deadlines)
        if member.state is State.BANNED:
            return here.without_duties(WorkerState.BANNED, member.why)
        if address is None:
            return here.without_duties(WorkerState.LEFT if member.state is State.LEFT else WorkerState.GONE)
        stages, duplicates = self._duties.get(member.name, ((), ()))
        claim = self._claims.made.get(member.name) if self._claims else None
        return WorkerStatus(
            name=member.name,
            stages=stages,
            duplicates=duplicates,
            state=WorkerState.WORKING if stages or duplicates else WorkerState.SPARE,
            address=address,
            pid=self._pids.get(address),
            speed=claim.speed if claim else None,
            memory_bytes=claim.memory_bytes if claim else None,
            ways=ways,
            deadlines=deadlines,
        )

    async def _find_pids(self, addresses: Collection[str]) -> None:
        self._pids = {address: pid for address, pid in self._pids.items() if address in addresses}
        for address in addresses:
            if address not in self._pids:
                self._pids[address] = await asyncio.to_thread(process_behind, address)

    def _write(self, workers: Iterable[WorkerStatus]) -> None:
        status = RunStatus(process=self._process, workers=tuple(workers))
        if status != self._written:
            status.write(self._path)
            self._written = status


def process_behind(address: str) -> int | None:
    """The process of this machine whose end of a connection is `address`, HOST:PORT; None where there is none.

    It is the machine's own table of connections that says so, not whoever is connected. None, too, where the machine
    does not tell, because the process is another user's.
    """
    host, _, port = address.rpartition(":")
    wanted = _plain_host(host), port
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    ends = ((each.laddr, each.pid) for each in connections if each.laddr and each.raddr)
    return next((pid for end, pid in ends if (_plain_host(end.ip), str(end.port)) == wanted), None)


def _plain_host(host: str) -> str:
    """An address without brackets, and IPv4 as such where it stands in IPv6."""
    bare = ipaddress.ip_address(host.removeprefix("[").removesuffix("]").partition("%")[0])
    mapped = bare.ipv4_mapped if isinstance(bare, ipaddress.IPv6Address) else None
    return str(mapped or bare)


def _of(name: str, of_stage: Mapping[int, str]) -> tuple[int, ...]:
    return tuple(sorted(stage for stage, holder in of_stage.items() if holder == name))
