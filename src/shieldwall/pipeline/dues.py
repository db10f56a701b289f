"""Which answers are due when, on a clock that runs only while the initiator really waits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from shieldwall.core.ids import COORDINATOR, INITIATOR, SERVER, Slot
from shieldwall.core.messages import (
    Assign,
    Correct,
    Message,
    Play,
    SendChunk,
    SendState,
    Show,
    StageState,
    TakeChunk,
    TakeGradients,
    TakePrepared,
)
from shieldwall.pipeline.answers import Answer
from shieldwall.pipeline.deadlines import Deadlines

_OWN = frozenset({INITIATOR, COORDINATOR, SERVER})
_STATES = 3
"""A state has at most so many times the bytes of its parameters: two moments each."""


@dataclass(slots=True)
class _Due:
    asked_s: float
    base_s: float
    """What it may take without its bytes, or after the last of them that came in time."""
    due_s: float
    last_s: float
    """However its bytes move, it is due then."""
    carries: bool
    moved_bytes: int
    moved_s: float
    """When so much had moved."""
    excused_s: float = 0.0
    """For so long its host was held up by others."""


@dataclass(frozen=True, slots=True)
class Missed:
    """An answer that did not come in time."""

    what: str
    waited_s: float


class Dues:
    """The answers that are owed, by when they are due.

    Time is `clock_s`: seconds that the initiator has waited for messages. What it computes itself, what it sends and
    what it sleeps through does not count. Answers to `Play` are not here: a lane waits for other lanes.

    Args:
        deadlines: say how long each may take.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._owed: dict[Answer, _Due] = {}
        self._state_bytes: dict[int, int] = {}
        """By stage, what its state has at most."""
        self.corrected: set[tuple[str, Slot]] = set()
        """Whom the initiator has given a tensor of its own for which slot."""
        self.clock_s = 0.0

    @property
    def look_s(self) -> float:
        """How long to wait before looking again."""
        return self._deadlines.terms.look_s

    def ask(self, answer: Answer, order: Message) -> None:
        """An order is about to be given; its answer is due after all that its host owes already."""
        host = str(answer[0])
        if isinstance(order, Correct):
            self.corrected.add((host, order.header.statement.slot))
        if host in _OWN or isinstance(order, Play):
            return
        nbytes = self._carried(order)
        base_s = self._deadlines.answer_s(host, _kind(answer), carries=nbytes > 0)
        before_s = max([self.clock_s, *(due.last_s for owed, due in self._owed.items() if owed[0] == host)])
        moved = self._moved_bytes(host)
        last_s = before_s + base_s + self._deadlines.carry_s(nbytes)
        due_s = last_s if moved is None else before_s + base_s
        self._owed[answer] = _Due(self.clock_s, base_s, due_s, last_s, nbytes > 0, moved or 0, self.clock_s)

    def settle(self, answer: Answer) -> None:
        """An answer has come."""
        due = self._owed.pop(answer, None)
        if due and not due.carries:
            self._deadlines.note_answer(str(answer[0]), _kind(answer), self.clock_s - due.asked_s)

    def give_up(self, answer: Answer) -> None:
        """An answer is not wanted any more."""
        self._owed.pop(answer, None)

    def drop(self, host: str) -> None:
        """Nothing is expected of a host any more."""
        self._owed = {answer: due for answer, due in self._owed.items() if answer[0] != host}

    def forget(self) -> None:
        """Nothing is expected of anybody any more."""
        self._owed.clear()
        self.corrected.clear()

    def waited(self, seconds: float) -> None:
        """So long was waited for a message in one piece; what is more than two looks was no waiting but standing
        still."""
        waited_s = min(seconds, 2 * self.look_s)
        self.clock_s += waited_s
        witness = self._deadlines.witness
        for answer, due in self._owed.items():
            host = str(answer[0])
            if witness and witness.is_held_up(host) and due.excused_s < self._deadlines.terms.held_up_s:
                due.excused_s += waited_s
                due.due_s += waited_s
                due.last_s += waited_s
            elif due.carries:
                self._extend(host, due)

    def missed(self) -> dict[str, Missed]:
        """By host, the first answer of it that was due by now."""
        late = [(answer, due) for answer, due in self._owed.items() if due.due_s <= self.clock_s]
        return {
            str(answer[0]): Missed(_kind(answer), self.clock_s - due.asked_s)
            for answer, due in sorted(late, key=lambda each: each[1].due_s, reverse=True)
        }

    def _extend(self, host: str, due: _Due) -> None:
        """Bytes that have moved fast enough give the rest of them as much time again."""
        moved = self._moved_bytes(host)
        if moved is None or moved <= due.moved_bytes:
            return
        if self._deadlines.carry_s(moved - due.moved_bytes) >= self.clock_s - due.moved_s:
            due.moved_bytes, due.moved_s = moved, self.clock_s
            due.due_s = min(due.last_s, max(due.due_s, self.clock_s + due.base_s))

    def _moved_bytes(self, host: str) -> int | None:
        witness = self._deadlines.witness
        return witness.moved_bytes(host) if witness else None

    def _carried(self, order: Message) -> int:
        """Bytes of tensors that an order and its answer carry, at most."""
        if isinstance(order, Assign):
            self._state_bytes[order.stage] = _STATES * _bytes_of(order.state.parameters.values())
            return _state_bytes(order.state) + _bytes_of(order.frozen.values())
        if isinstance(order, SendState):
            return self._state_bytes.get(order.stage, self._deadlines.state_bytes)
        if isinstance(order, SendChunk):
            return order.size_bytes
        if isinstance(order, TakeChunk):
            return order.content.nbytes
        if isinstance(order, TakePrepared):
            return _state_bytes(order.state)
        if isinstance(order, TakeGradients):
            return _bytes_of(order.gradients.values())
        return self._deadlines.border_bytes if isinstance(order, (Show, Correct)) else 0


def _kind(answer: Answer) -> str:
    kind = answer[1]
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _state_bytes(state: StageState) -> int:
    moments = (tensor for each in state.moments.values() for tensor in each.values())
    return _bytes_of((*state.parameters.values(), *moments))


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
