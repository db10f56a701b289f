"""What a host gives out: a state as it stood when it was listed, so that all its chunks are of one state."""

from __future__ import annotations

import asyncio

from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.flat_state import flatten_state
from shieldwall.core.ids import Role
from shieldwall.core.messages import ChunkSent, ListState, SendChunk, StageState, StateListed
from shieldwall.pipeline.transfer.chunks import chunk_of, outline_of


class Served:
    """States of one host that were listed since its last commit; they share the memory of the states in force.

    Args:
        host: its name.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._tensors: dict[tuple[Role, int], dict[str, Tensor]] = {}

    async def list(self, order: ListState, state: StageState) -> StateListed:
        """What `state` is made of; it is the one that chunks are asked of from now on.

        Between two tensors the loop may do other things: who hashes gigabytes still says that it is there.
        """
        tensors = self._tensors[order.role, order.stage] = flatten_state(state)
        outlines = {}
        for name, tensor in tensors.items():
            outlines[name] = outline_of(tensor)
            await asyncio.sleep(0)
        return StateListed(host=self._host, stage=order.stage, role=order.role, tensors=outlines)

    def send(self, order: SendChunk) -> ChunkSent:
        """Some bytes of a tensor that was listed.

        Raises:
            TransportError: SW-T105; it was not.
        """
        tensor = self._tensors.get((order.role, order.stage), {}).get(order.name)
        if tensor is None:
            raise TransportError(
                "SW-T105",
                f"{self._host} was asked for bytes of a state that it was not asked to list",
                where=f"stage {order.stage}, {order.name}",
                expected="ListState before SendChunk",
                got="SendChunk alone",
            )
        content = chunk_of(tensor, order.offset, order.size_bytes)
        return ChunkSent(
            host=self._host,
            stage=order.stage,
            role=order.role,
            name=order.name,
            offset=order.offset,
            content=content,
        )

    def forget(self) -> None:
        """Other states are in force."""
        self._tensors.clear()
