"""Fetching states from who holds them.

A host in this process gives its state by reference, in one message. From one in another process, which is far, it comes
in chunks, so that no message and no buffer is as large as a stage, and so that nothing comes twice where somebody is
lost in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shieldwall.core.errors import TransportError
from shieldwall.core.flat_state import is_state
from shieldwall.core.ids import Role
from shieldwall.core.messages import (
    ChunkSent,
    ListState,
    Outline,
    SendChunk,
    SendState,
    StageState,
    StateListed,
    StateReport,
)
from shieldwall.core.oversight import Oversight, lost_state, state_gone
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.transfer.chunks import refuse_excess, total_bytes
from shieldwall.pipeline.transfer.intake import Intake
from shieldwall.pipeline.transfer.transfers import Transfers
from shieldwall.transport.codec.garbled import garbled

Source = tuple[Role, str]
"""Who has a state, and as what."""
_Key = tuple[str, str, int]
"""A chunk that was asked for: of whom, which tensor, from which byte on."""


class Fetcher:
    """Brings states of stages to the coordinator.

    Args:
        desk: the coordinator's messages.
        oversight: says which state is in force; None where nothing is checked.
        transfers: how states travel.
    """

    def __init__(self, desk: Desk, oversight: Oversight | None, transfers: Transfers) -> None:
        self._desk = desk
        self._oversight = oversight
        self._transfers = transfers
        self._partial: dict[int, Intake] = {}
        """What has come of states whose transfer was broken off."""

    async def committed(self, stage: int, holders: Sequence[Source]) -> StageState:
        """The committed state of a stage, the one that is in force.

        Far holders are asked side by side where both are. One that has another state is a case, and the other's is
        taken.

        Raises:
            RunError: SW-V202; none of those who were asked has it.
            StateLostError: SW-V302; none of them can be reached any more.
            HostsLost: somebody else cannot be reached any more; what has come is kept for the next call.
        """
        refused: set[str] = set()
        if self._oversight and all(self._transfers.is_far(host) for _, host in holders):
            state = await self._from_all(stage, holders, self._oversight, refused)
            if state is not None:
                return state
        for role, host in holders:
            if host in refused:
                continue
            try:
                report = await self.report(host, stage, role)
            except HostsLost:
                if host not in self._desk.gone:
                    raise
                continue
            state = self._oversight.accept_state(report) if self._oversight else report.state
            if state is not None:
                return state
        if all(host in self._desk.gone for _, host in holders):
            raise state_gone(stage, [host for _, host in holders] or ["who held it"])
        names = dict(holders)
        raise lost_state(stage, names.get(Role.STAGE, ""), names.get(Role.DUPLICATE, ""))

    async def report(self, host: str, stage: int, role: Role) -> StateReport:
        """The committed state as one host has it, be it right or wrong.

        One that is far and says that it has more than any state can have is taken nothing from: its state is empty
        where somebody watches, and else an error.

        Raises:
            TransportError: SW-T108; as said.
            HostsLost: the host, or another one, cannot be reached any more.
        """
        if not self._transfers.is_far(host):
            await self._desk.send(host, SendState(stage=stage, role=role))
            return await self._desk.take(
                StateReport, fits=lambda report: (report.host, report.stage, report.role) == (host, stage, role)
            )
        try:
            outlines = await self._list(host, stage, role)
            intake = Intake(outlines, self._transfers.chunk_bytes, trusted=False)
        except TransportError:
            if self._oversight is None:
                raise
            return StateReport(host=host, stage=stage, state=StageState(parameters={}), role=role)
        await self._fill(intake, stage, [(role, host)])
        if not intake.is_whole and host in self._desk.gone:
            raise HostsLost([host])
        if not intake.is_whole and self._oversight is None:
            raise garbled(f"the state of stage {stage}, from {host}", "the bytes that were asked for", "others")
        return StateReport(host=host, stage=stage, state=intake.state, role=role)

    def forget(self) -> None:
        """A step is committed: what has come of older states is of no use any more."""
        self._partial.clear()

    async def _from_all(
        self, stage: int, holders: Sequence[Source], oversight: Oversight, refused: set[str]
    ) -> StageState | None:
        """The state from all holders who list the one in force; None where none does, or all fail.

        Whoever has another one is a case, and in `refused`.
        """
        right: list[Source] = []
        wrong: list[Source] = []
        outlines: Mapping[str, Outline] = {}
        for role, host in holders:
            listed = await self._try_list(host, stage, role)
            if listed is None:
                continue
            fits = oversight.fits_state(stage, {name: each.root for name, each in listed.items()})
            if fits is None:
                return None
            if fits and is_state(listed):
                right.append((role, host))
                outlines = listed
            else:
                wrong.append((role, host))
        if not right:
            return None
        intake = self._partial.get(stage)
        if intake is None or intake.outlines != outlines:
            intake = self._partial[stage] = Intake(outlines, self._transfers.chunk_bytes)
        await self._fill(intake, stage, right)
        for role, host in [*right, *wrong]:
            if host in intake.wrong:
                oversight.accept_state(StateReport(host=host, stage=stage, state=intake.state_of(host), role=role))
                refused.add(host)
            elif (role, host) in wrong and intake.is_whole:
                await self._hear_out(host, stage, role, oversight)
        return self._partial.pop(stage).state if intake.is_whole else None

    async def _hear_out(self, host: str, stage: int, role: Role, oversight: Oversight) -> None:
        """Take what a holder has whose list is not that of the state in force: it is a case."""
        try:
            oversight.accept_state(await self.report(host, stage, role))
        except HostsLost:
            if host not in self._desk.gone:
                raise

    async def _try_list(self, host: str, stage: int, role: Role) -> dict[str, Outline] | None:
        """What a holder lists: nothing where that cannot be, None where it is lost."""
        try:
            return await self._list(host, stage, role)
        except TransportError:
            return {}
        except HostsLost:
            if host not in self._desk.gone:
                raise
            return None

    async def _list(self, host: str, stage: int, role: Role) -> dict[str, Outline]:
        await self._desk.send(host, ListState(stage=stage, role=role))
        listed = await self._desk.take(
            StateListed, fits=lambda report: (report.host, report.stage, report.role) == (host, stage, role)
        )
        outlines = dict(listed.tensors)
        where = f"the state of stage {stage}, from {host}"
        refuse_excess(where, total_bytes(outlines), self._transfers.state_bytes)
        return outlines

    async def _fill(self, intake: Intake, stage: int, sources: Sequence[Source]) -> None:
        """Ask until the state is whole, or there is nobody left to ask."""
        under_way: dict[_Key, SendChunk] = {}
        told = self._transfers.told(
            f"stage {stage} comes from {' and '.join(host for _, host in sources)}", intake.total_bytes
        )
        for _, host in sources:
            intake.leave(host)
        try:
            while not intake.is_whole:
                try:
                    await self._ask(intake, stage, sources, under_way)
                    if not under_way:
                        return
                    chunk = await self._desk.take(ChunkSent, fits=lambda each: _key(each) in under_way)
                except HostsLost as lost:
                    if not lost.hosts <= {host for _, host in sources}:
                        raise
                    for key in [key for key in under_way if key[0] in lost.hosts]:
                        del under_way[key]
                    for host in lost.hosts:
                        intake.leave(host)
                    continue
                intake.take(chunk, under_way.pop(_key(chunk)).size_bytes)
                told.at(intake.come_bytes)
        finally:
            for (host, *_), order in under_way.items():
                self._desk.give_up(host, order)

    async def _ask(
        self, intake: Intake, stage: int, sources: Sequence[Source], under_way: dict[_Key, SendChunk]
    ) -> None:
        """Ask the holders in turns, each for as much as its window has room for."""
        waiting = list(sources)
        while waiting:
            role, host = waiting.pop(0)
            asked = [order.size_bytes for key, order in under_way.items() if key[0] == host]
            has_room = host not in self._desk.gone and self._transfers.has_room(asked)
            wanted = intake.next_for(host) if has_room else None
            if wanted is None:
                continue
            order = SendChunk(
                stage=stage, role=role, name=wanted.name, offset=wanted.offset, size_bytes=wanted.size_bytes
            )
            under_way[host, wanted.name, wanted.offset] = order
            await self._desk.send(host, order)
            waiting.append((role, host))


def _key(chunk: ChunkSent) -> _Key:
    return chunk.host, chunk.name, chunk.offset
