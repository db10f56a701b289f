"""What a host has of stages that it may be given: what it held when its session ended, and what has come in chunks.

It outlives sessions. A worker that the run has forgotten, because the line was cut or the initiator was started again,
says what it still has, and is sent the rest alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.flat_state import unflatten_frozen, unflatten_state
from shieldwall.core.messages import Assign, Begun, ChunkTaken, KeptListed, ListKept, Outline, TakeChunk
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.pipeline.transfer.chunks import content_of, empty_of, is_chunk, refuse_excess, size_of
from shieldwall.transport.codec.garbled import garbled


@dataclass(slots=True)
class _Coming:
    outline: Outline
    tensor: Tensor
    come_bytes: int = 0


class Kept:
    """Tensors by stage and name, as `core.flat_state` names them."""

    def __init__(self) -> None:
        self.limit_bytes: int | None = None
        """The most that is taken of one stage; None: whatever is sent."""
        self._had: dict[int, dict[str, Tensor]] = {}
        self._known: dict[int, dict[str, tuple[str, Tensor]]] = {}
        """Tensors whose root was taken here, with it."""
        self._coming: dict[int, dict[str, _Coming]] = {}

    def put_away(self, stage: int, tensors: Mapping[str, Tensor]) -> None:
        """The session ends in which this host held the stage."""
        self._had[stage] = dict(tensors)

    async def list(self, order: ListKept, host: str, held: Mapping[str, Tensor]) -> KeptListed:
        """What is here of a stage, and what `held` has of it just now; the roots are of what is there.

        Between two tensors the loop may do other things.
        """
        stage, known = order.stage, self._known.setdefault(order.stage, {})
        for name, tensor in {**self._had.pop(stage, {}), **held}.items():
            if name not in known:
                known[name] = tensor_root(tensor), tensor
                await asyncio.sleep(0)
        coming = self._coming.get(stage, {})
        return KeptListed(
            host=host,
            stage=stage,
            roots={name: root for name, (root, _) in known.items()},
            begun={name: Begun(each.outline.root, each.come_bytes) for name, each in coming.items()},
        )

    def take(self, order: TakeChunk, host: str) -> ChunkTaken:
        """Put bytes by. A tensor that is whole is held against its root.

        Raises:
            TransportError: SW-T107, they do not belong there or are not what was said; SW-T108, they are too many.
        """
        coming = self._coming.setdefault(order.stage, {})
        begun = coming.get(order.name)
        if begun is None or begun.outline != order.outline:
            begun = coming[order.name] = self._begin(order, coming)
        target = content_of(begun.tensor)
        end = order.offset + order.content.numel()
        if order.offset > begun.come_bytes or end > target.numel() or not is_chunk(order.content, end - order.offset):
            expected = f"bytes from {begun.come_bytes:,} on, of {target.numel():,}"
            raise garbled(f"a chunk of {order.name}", expected, f"{order.content.numel():,} from {order.offset:,} on")
        target[order.offset : end] = order.content
        begun.come_bytes = max(begun.come_bytes, end)
        if begun.come_bytes == target.numel():
            del coming[order.name]
            self._finish(order, begun.tensor)
        return ChunkTaken(host=host, stage=order.stage, name=order.name, offset=order.offset)

    def resolve(self, order: Assign, host: str) -> Assign:
        """The order with the tensors in it that it names by their roots; nothing of the stage is kept any more.

        Raises:
            TransportError: SW-T105; one of them is not here.
        """
        self._coming.pop(order.stage, None)
        known = self._known.pop(order.stage, {})
        if not order.roots:
            return order
        missing = [name for name, root in order.roots.items() if name not in known or known[name][0] != root]
        if missing:
            raise TransportError(
                "SW-T105",
                f"{host} was told to hold what it was not sent",
                where=f"stage {order.stage}, {missing[0]}",
                expected="TakeChunk, for everything that it has not, before Assign",
                got=f"Assign with {len(missing)} of {len(order.roots)} tensors missing",
            )
        tensors = {name: known[name][1] for name in order.roots}
        return replace(order, state=unflatten_state(tensors), frozen=unflatten_frozen(tensors), roots={})

    def forget(self) -> None:
        """What is kept is of no use any more: the run has gone on."""
        for kept in (self._had, self._known, self._coming):
            kept.clear()

    def _begin(self, order: TakeChunk, coming: Mapping[str, _Coming]) -> _Coming:
        known = self._known.setdefault(order.stage, {})
        known.pop(order.name, None)
        there = sum(size_of(each.outline) for name, each in coming.items() if name != order.name)
        announced = size_of(order.outline) + there + sum(tensor.nbytes for _, tensor in known.values())
        if self.limit_bytes is not None:
            refuse_excess(f"the state of stage {order.stage}", announced, self.limit_bytes)
        return _Coming(order.outline, empty_of(order.outline))

    def _finish(self, order: TakeChunk, tensor: Tensor) -> None:
        root = tensor_root(tensor)
        if root != order.outline.root:
            raise garbled(f"{order.name} of stage {order.stage}", f"a tensor with root {order.outline.root}", root)
        self._known.setdefault(order.stage, {})[order.name] = root, tensor
