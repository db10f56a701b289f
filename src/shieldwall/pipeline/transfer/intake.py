"""One state on its way in: whom to ask for which bytes next, what has come, and who has sent what is wrong.

The list of roots is known to be right before a tensor is asked for, so each is judged by itself once it is whole.
A tensor is asked of one holder, so that a wrong one has a name. Where that holder is lost in the middle, the other goes
on; if the whole is wrong then, it is asked for once more, of one alone, and who was wrong is seen afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shieldwall.core.flat_state import unflatten_state
from shieldwall.core.messages import ChunkSent, Outline, StageState
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.pipeline.transfer.chunks import content_of, empty_of, is_chunk, size_of, total_bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes to ask for."""

    name: str
    offset: int
    size_bytes: int


@dataclass(slots=True)
class _Tensor:
    outline: Outline
    content: Tensor
    asked: str = ""
    """Who is asked for it; "" where nobody is."""
    next_byte: int = 0
    come: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Where each chunk begins: who has sent it, and how many bytes."""
    doubtful: tuple[Tensor, Mapping[int, tuple[str, int]]] | None = None
    """What several had sent together, and was wrong."""

    @property
    def givers(self) -> set[str]:
        return {host for host, _ in self.come.values()}

    @property
    def is_whole(self) -> bool:
        return sum(size for _, size in self.come.values()) == size_of(self.outline)

    def next_gap(self, chunk_bytes: int) -> tuple[int, int] | None:
        """Where the next bytes begin that were neither asked for nor have come, and how many; None at the end."""
        total = size_of(self.outline)
        while self.next_byte in self.come:
            self.next_byte += self.come[self.next_byte][1]
        if self.next_byte >= total:
            return None
        return self.next_byte, min(chunk_bytes, total - self.next_byte)


class Intake:
    """What is wanted of one state, and what is there.

    Args:
        outlines: its tensors by name; where they are `trusted`, what does not fit its root is wrong.
        chunk_bytes: the most that is asked for at once.
        trusted: whether the roots are known to be right.

    Raises:
        TransportError: SW-T107; an outline is of no tensor that travels.
    """

    def __init__(self, outlines: Mapping[str, Outline], chunk_bytes: int, *, trusted: bool = True) -> None:
        self.outlines = dict(outlines)
        self.total_bytes = total_bytes(outlines)
        self.come_bytes = 0
        self.wrong: dict[str, dict[str, Tensor]] = {}
        """Who has sent wrong tensors, and which."""
        self._chunk_bytes = chunk_bytes
        self._trusted = trusted
        self._begun: dict[str, _Tensor] = {}
        sizes = {name: size_of(outline) for name, outline in outlines.items()}
        self._whole = {name: empty_of(outlines[name]) for name, size in sizes.items() if not size}
        self._untouched = deque(sorted((name for name, size in sizes.items() if size), key=lambda name: -sizes[name]))

    @property
    def is_whole(self) -> bool:
        """Whether everything is there, and right."""
        return len(self._whole) == len(self.outlines)

    @property
    def state(self) -> StageState:
        """What is there."""
        return unflatten_state(self._whole)

    def state_of(self, host: str) -> StageState:
        """The state as one has served it who was wrong; what it was not asked for is what is right."""
        return unflatten_state({**self._whole, **self.wrong[host]})

    def next_for(self, host: str) -> Wanted | None:
        """What to ask of a holder next; None where there is nothing left for it, or it was wrong before."""
        if host in self.wrong:
            return None
        while (name := self._choose(host)) is not None:
            tensor = self._begun[name]
            tensor.asked = host
            gap = tensor.next_gap(self._chunk_bytes)
            if gap:
                tensor.next_byte = sum(gap)
                return Wanted(name, *gap)
        return None

    def take(self, chunk: ChunkSent, size_bytes: int) -> None:
        """Put bytes in their place; `size_bytes` is how many were asked for."""
        tensor = self._begun.get(chunk.name)
        if tensor is None or chunk.host in self.wrong or chunk.offset in tensor.come:
            return
        if not is_chunk(chunk.content, size_bytes):
            self._blame(chunk.host, chunk.name, chunk.content)
            return
        content_of(tensor.content)[chunk.offset : chunk.offset + size_bytes] = chunk.content
        tensor.come[chunk.offset] = chunk.host, size_bytes
        self.come_bytes += size_bytes
        if tensor.is_whole:
            self._judge(chunk.name, tensor)

    def leave(self, host: str) -> None:
        """A holder is not asked any more, or not any more for what it has not sent yet: others may be."""
        for tensor in self._begun.values():
            if tensor.asked == host:
                tensor.asked, tensor.next_byte = "", 0

    def _choose(self, host: str) -> str | None:
        """A tensor to ask this holder for: one that it is asked for, one that was left, or one that nobody is."""
        for wanted in (host, ""):
            for name, tensor in self._begun.items():
                if tensor.asked == wanted and tensor.next_gap(self._chunk_bytes):
                    return name
        if not self._untouched:
            return None
        name = self._untouched.popleft()
        self._begun[name] = _Tensor(self.outlines[name], empty_of(self.outlines[name]))
        return name

    def _judge(self, name: str, tensor: _Tensor) -> None:
        if self._trusted and tensor_root(tensor.content) != tensor.outline.root:
            self._refuse(name, tensor)
            return
        self._whole[name] = self._begun.pop(name).content
        if tensor.doubtful:
            before, come = tensor.doubtful
            for offset, (host, size) in come.items():
                there = slice(offset, offset + size)
                if not torch.equal(content_of(before)[there], content_of(tensor.content)[there]):
                    self._blame(host, name, before)

    def _refuse(self, name: str, tensor: _Tensor) -> None:
        """A whole tensor is wrong: it is begun anew, and whoever sent all of it is asked for nothing any more."""
        self.come_bytes -= size_of(tensor.outline)
        again = _Tensor(tensor.outline, empty_of(tensor.outline), doubtful=tensor.doubtful)
        self._begun[name] = again
        if len(tensor.givers) == 1:
            self._blame(next(iter(tensor.givers)), name, tensor.content)
        else:
            again.doubtful = tensor.content, tensor.come

    def _blame(self, host: str, name: str, content: Tensor) -> None:
        self.wrong.setdefault(host, {}).setdefault(name, content)
        self.leave(host)
