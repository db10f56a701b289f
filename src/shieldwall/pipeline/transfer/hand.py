"""Handing states to who is to hold them: by reference within this process; to others what they have not, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from shieldwall.core.flat_state import flatten_frozen, flatten_state
from shieldwall.core.messages import (
    Assign,
    Assigned,
    ChunkTaken,
    KeptListed,
    ListKept,
    Message,
    Outline,
    StageState,
    TakeChunk,
)
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.transfer.chunks import chunk_of, outline_of, total_bytes
from shieldwall.pipeline.transfer.progress import megabytes
from shieldwall.pipeline.transfer.transfers import Transfers

R = TypeVar("R", bound=Message)


class Hander:
    """Gives stages and duplicates to hosts.

    Args:
        desk: the coordinator's messages.
        transfers: how states travel.
    """

    def __init__(self, desk: Desk, transfers: Transfers) -> None:
        self._desk = desk
        self._transfers = transfers
        self._still_there: dict[str, dict[int, int]] = {}
        """Hosts to stages of which nothing had to be sent, with their bytes."""

    async def hand(self, host: str, order: Assign, *, alone: bool = False) -> None:
        """Let a host hold a stage or its duplicate; a far one is sent what it has not.

        Args:
            host: its name.
            order: with the tensors in it.
            alone: whether it is nothing here that others are lost meanwhile.

        Raises:
            HostsLost: the host cannot be reached any more, or another one. What it has got by then it still has, and
                the next call sends the rest.
        """
        if self._transfers.is_far(host):
            order = await self._send_missing(host, order, alone=alone)
        await self._desk.send(host, order)
        await self._take(
            host,
            Assigned,
            lambda report: (report.host, report.stage, report.role) == (host, order.stage, order.role),
            alone=alone,
        )

    def tell_still_there(self) -> None:
        """Tell of the stages that hosts had by themselves since the last call."""
        for host, stages in self._still_there.items():
            noun = "stage" if len(stages) == 1 else "stages"
            saved = megabytes(sum(stages.values()))
            listed = ", ".join(map(str, sorted(stages)))
            self._transfers.tell(f"{host} still has {noun} {listed}: nothing sent ({saved} MB)")
        self._still_there.clear()

    async def _send_missing(self, host: str, order: Assign, *, alone: bool) -> Assign:
        """Send a far host what it has not; gives the order by names and roots."""
        tensors = {**flatten_state(order.state), **flatten_frozen(order.frozen)}
        outlines = {name: outline_of(tensor) for name, tensor in tensors.items()}
        await self._desk.send(host, ListKept(stage=order.stage))
        kept = await self._take(
            host, KeptListed, lambda report: (report.host, report.stage) == (host, order.stage), alone=alone
        )
        missing = [name for name, outline in outlines.items() if kept.roots.get(name) != outline.root]
        if missing:
            rest = {name: (outlines[name], tensors[name]) for name in missing}
            await self._send_chunks(host, rest, kept, alone=alone)
        elif tensors:
            self._still_there.setdefault(host, {})[order.stage] = total_bytes(outlines)
        roots = {name: outline.root for name, outline in outlines.items()}
        return replace(order, state=StageState(parameters={}), frozen={}, roots=roots)

    async def _send_chunks(
        self, host: str, tensors: Mapping[str, tuple[Outline, Tensor]], kept: KeptListed, *, alone: bool
    ) -> None:
        """Send tensors, each from where the host says that it has got to with it."""
        stage, under_way, done = kept.stage, dict[tuple[str, int], int](), 0
        told = self._transfers.told(
            f"{host} receives stage {stage}", sum(tensor.nbytes for _, tensor in tensors.values())
        )

        async def wait_until(enough: Callable[[], bool]) -> None:
            nonlocal done
            while not enough():
                taken = await self._take(
                    host, ChunkTaken, lambda each: (each.name, each.offset) in under_way, alone=alone
                )
                done += under_way.pop((taken.name, taken.offset))
                told.at(done)

        for name, (outline, tensor) in tensors.items():
            begun = kept.begun.get(name)
            start = min(max(begun.size_bytes, 0), tensor.nbytes) if begun and begun.root == outline.root else 0
            done += start
            for offset in range(start, tensor.nbytes, self._transfers.chunk_bytes) or (0,):
                await wait_until(lambda: self._transfers.has_room(under_way.values()))
                content = chunk_of(tensor, offset, self._transfers.chunk_bytes)
                under_way[name, offset] = content.numel()
                await self._desk.send(
                    host, TakeChunk(stage=stage, name=name, outline=outline, offset=offset, content=content)
                )
        await wait_until(lambda: not under_way)

    async def _take(self, host: str, wanted: type[R], fits: Callable[[R], bool], *, alone: bool) -> R:
        while True:
            try:
                return await self._desk.take(wanted, fits)
            except HostsLost:
                if not alone or host in self._desk.gone:
                    raise
