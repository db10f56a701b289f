"""Statements before the work that they are about, and after the slot that they are about was settled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from harness import SETTLES, SMALL, When, culprits, lie

from conftest import MakeModel
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import COORDINATOR, Direction
from shieldwall.core.messages import Message, Note, Played, Shown, StateReport
from shieldwall.core.signing import Statement
from shieldwall.core.statements import Halt, Header, Refusal, Settlement
from shieldwall.run import deployment
from shieldwall.run.shield import Parties
from shieldwall.transport import MemoryNetwork

BAD = "worker-2"
MADE_UP = "ab" * 32
Say = Callable[[Statement], None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Sends a statement to the coordinator with worker-2's signature, past its door."""
    parties, networks = list[Parties](), list[MemoryNetwork]()

    class KnownParties(Parties):
        def __init__(self, names: Iterable[str]) -> None:
            super().__init__(names)
            parties.append(self)

    def make() -> MemoryNetwork:
        networks.append(MemoryNetwork())
        return networks[-1]

    monkeypatch.setattr("shieldwall.lab.small_run.train.Parties", KnownParties)
    monkeypatch.setattr(deployment, "MemoryNetwork", make)
    return lambda said: networks[-1].deliver(BAD, COORDINATOR, Note(signed=parties[-1][BAD].sign(said)))


class Early(Hook):
    """With its first header it says something about the last micro-batch's way back, which nobody has begun."""

    def __init__(self, say: Say, speak: Callable[[Header, Say], None]) -> None:
        self._say, self._speak, self.fired = say, speak, 0

    async def before_post(self, destination: str, message: Message) -> Message | None:
        header = message.signed.statement if isinstance(message, Note) else None
        if not self.fired and destination == COORDINATOR and isinstance(header, Header):
            self.fired += 1
            last = replace(header.slot, micro_batch=SMALL.micro_batches - 1, direction=Direction.BACKWARD)
            self._speak(replace(header, slot=last), self._say)
        return message


def halt(header: Header, say: Say) -> None:
    say(Halt(slot=header.slot, root_in=MADE_UP, what="a gradient"))


def sign_and_refuse(header: Header, say: Say) -> None:
    say(header)
    say(Refusal(slot=replace(header.slot, direction=Direction.FORWARD, stage=1), sender="worker-1", reason="made up"))


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("speak", [halt, sign_and_refuse])
def test_what_is_said_before_there_was_any_work_does_not_stop_the_run(
    speak: Callable[[Header, Say], None], when: When, say: Say, make_model: MakeModel
) -> None:
    hook = Early(say, speak)
    assert culprits(lie(hook, when, make_model)) <= {BAD}
    assert hook.fired == 1


class Late(Hook):
    """Keeps back settlements of the way back, and when that is looked into contradicts what it has said in forward."""

    def __init__(self, say: Say, kind: type[Header | Settlement]) -> None:
        self._say, self._kind = say, kind
        self._first: Header | Settlement | None = None
        self._played, self.fired = False, 0

    async def before_post(self, destination: str, message: Message) -> Message | None:
        said = message.signed.statement if isinstance(message, Note) else None
        if isinstance(said, Settlement) and said.slot.attempt == 0 and said.slot.direction is Direction.BACKWARD:
            return None
        if isinstance(said, self._kind) and self._first is None:
            self._first = said
        self._played |= isinstance(message, Played)
        if self._played and self._first and not self.fired and isinstance(message, (Shown, StateReport)):
            self.fired += 1
            self._say(replace(self._first, root_out=MADE_UP))
        return message


@pytest.mark.parametrize("kind", [Header, Settlement])
def test_who_contradicts_itself_over_a_slot_that_was_joined_is_convicted(
    kind: type[Header | Settlement], say: Say, make_model: MakeModel
) -> None:
    """Else the ledger would hold a contradiction that it was committed with, and fail when it is verified."""
    hook = Late(say, kind)
    assert culprits(lie(hook, "before_commit", make_model)) == {BAD}
    assert hook.fired == 1
