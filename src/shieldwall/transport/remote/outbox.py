"""What a link has yet to send, and what it has sent and the other end has not yet taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote.letters import Letter, pieces_of
from shieldwall.transport.remote.pieces import AnyPiece


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    letter: Letter


class Outbox:
    """Letters in their order, kept until they are acknowledged, so that a link can break and go on.

    Args:
        window_bytes: how much may lie here before a sender has to wait.
        part_bytes: the most that one piece carries of a tensor.
    """

    def __init__(self, window_bytes: int, part_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._part_bytes = part_bytes
        self._kept: deque[_Numbered] = deque()
        self._unsent: deque[_Numbered] = deque()
        self._pieces: Iterator[AnyPiece] = iter(())
        self._numbered = 0
        self.acknowledged = 0
        """The last letter that was."""
        self.waiting_bytes = 0
        """Of all letters that are not acknowledged."""

    @property
    def full(self) -> bool:
        """Whether a sender has to wait; one letter is taken however large it is."""
        return self.waiting_bytes >= self._window_bytes

    @property
    def kept(self) -> list[Letter]:
        """Letters that are not acknowledged, in their order; some of them may have arrived."""
        return [numbered.letter for numbered in self._kept]

    def put(self, letter: Letter) -> None:
        """Add a letter behind the others."""
        self._numbered += 1
        numbered = _Numbered(self._numbered, letter)
        self._kept.append(numbered)
        self._unsent.append(numbered)
        self.waiting_bytes += letter.packed.weight_bytes

    def next_piece(self) -> AnyPiece | None:
        """What is to be sent next; None while there is nothing."""
        piece = next(self._pieces, None)
        if piece is None and self._unsent:
            numbered = self._unsent.popleft()
            self._pieces = pieces_of(numbered.letter, numbered.number, self._part_bytes)
            piece = next(self._pieces)
        return piece

    def acknowledge(self, number: int) -> None:
        """Forget the letters up to `number`.

        Raises:
            TransportError: SW-T107; there was no such letter yet.
        """
        if number > self._numbered:
            raise garbled("an acknowledgement", f"of a letter up to number {self._numbered}", f"number {number}")
        self.acknowledged = max(self.acknowledged, number)
        while self._kept and self._kept[0].number <= number:
            self.waiting_bytes -= self._kept.popleft().letter.packed.weight_bytes

    def go_on_after(self, received: int) -> None:
        """The link was broken and stands again: send what comes after letter `received`, from its head on.

        Raises:
            TransportError: SW-T107; that letter was never sent, or one after it is not kept any more.
        """
        oldest = self._kept[0].number if self._kept else self._numbered + 1
        if not oldest - 1 <= received <= self._numbered:
            raise garbled(
                "the greeting", f"the number of a letter from {oldest - 1} to {self._numbered}", f"number {received}"
            )
        self._pieces = iter(())
        self._unsent = deque(numbered for numbered in self._kept if numbered.number > received)
