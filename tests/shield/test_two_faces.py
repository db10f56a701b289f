"""One party that says different things to different hosts, or describes falsely what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from harness import SETTLES, SMALL, When, culprits, known_parties, lie, small_folder

from conftest import MakeModel
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import Message, Note
from shieldwall.core.oversight import Assignment
from shieldwall.core.signing import Identity
from shieldwall.core.statements import Alert, Header, Refusal, Settlement
from shieldwall.lab.shield_property.draw import draw_numbered, model_folder
from shieldwall.lab.shield_property.laws import examine
from shieldwall.lab.small_run import train_pipeline
from shieldwall.run import deployment
from shieldwall.transport import MemoryNetwork

MADE_UP = "ab" * 32
Falsify = Callable[[Header], Header]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Identity]:
    """Worker-2's key, as a worker has its own."""
    parties = known_parties(monkeypatch)
    return lambda: parties()["worker-2"]


class OtherHeader(Hook):
    """Signs another header for the initiator than for everybody else."""

    def __init__(self, key: Callable[[], Identity], falsify: Falsify) -> None:
        self._key, self._falsify = key, falsify

    async def before_post(self, destination: str, message: Message) -> Message | None:
        header = message.signed.statement if isinstance(message, Note) else None
        if destination != COORDINATOR or not isinstance(header, Header):
            return message
        return Note(signed=self._key().sign(self._falsify(header)))


class OtherSettlement(Hook):
    """Settles one thing for the initiator and another for those who wait."""

    def __init__(self, key: Callable[[], Identity]) -> None:
        self._key = key

    async def before_post(self, destination: str, message: Message) -> Message | None:
        settlement = message.signed.statement if isinstance(message, Note) else None
        if destination == COORDINATOR or not isinstance(settlement, Settlement):
            return message
        return Note(signed=self._key().sign(replace(settlement, root_out=MADE_UP)))


class FalseHeader(Hook):
    """Signs a false header over a right tensor."""

    def __init__(self, falsify: Falsify) -> None:
        self._falsify = falsify

    async def before_sign(self, border: Border, header: Header) -> Header:
        del border
        return self._falsify(header)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize(
    "falsify",
    [
        lambda header: replace(header, root_in=MADE_UP),
        lambda header: replace(header, root_out=MADE_UP),
        lambda header: replace(header, state_root=MADE_UP),
        lambda header: replace(header, arithmetic="another class"),
    ],
    ids=["root_in", "root_out", "state_root", "arithmetic"],
)
def test_another_header_for_the_initiator_convicts_its_signer_and_not_its_checker(
    falsify: Falsify, when: When, key: Callable[[], Identity], make_model: MakeModel
) -> None:
    """Whatever the two differ in: with the same root the checker would else seem to lie about what it saw."""
    assert culprits(lie(OtherHeader(key, falsify), when, make_model)) == {"worker-2"}


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize(
    "falsify",
    [
        lambda header: replace(header, arithmetic="another class"),
        lambda header: replace(header, shape=(*header.shape, 1)),
        lambda header: replace(header, dtype="float64"),
        lambda header: replace(header, destinations=()),
        lambda header: replace(header, source="worker-3"),
    ],
    ids=["arithmetic", "shape", "dtype", "destinations", "source"],
)
def test_a_header_that_does_not_describe_its_tensor_convicts_its_signer(
    falsify: Falsify, when: When, make_model: MakeModel
) -> None:
    assert culprits(lie(FalseHeader(falsify), when, make_model)) == {"worker-2"}


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize(
    "falsify",
    [
        lambda header: replace(header, slot=replace(header.slot, micro_batch=header.slot.micro_batch + 1)),
        lambda header: replace(header, slot=replace(header.slot, attempt=-1)),
    ],
    ids=["the next micro-batch", "an attempt that never was"],
)
def test_a_header_of_another_slot_neither_stops_the_run_nor_blames_anybody_else(
    falsify: Falsify, when: When, make_model: MakeModel
) -> None:
    trained = lie(FalseHeader(falsify), when, make_model)
    assert trained.refusals
    assert culprits(trained) <= {"worker-2"}


def test_another_settlement_for_those_who_wait_convicts_the_checker(
    key: Callable[[], Identity], make_model: MakeModel
) -> None:
    assert culprits(lie(OtherSettlement(key), "before_use", make_model)) == {"worker-2"}


def test_nothing_is_filed_after_the_join_nor_for_a_slot_that_is_not_in_work(make_model: MakeModel) -> None:
    """What a ledger holds beside the join would make it fail later, though nobody was wronged."""
    trained = train_pipeline(SMALL, small_folder(make_model))
    court, statements = trained.court, trained.record.statements
    assert court is not None
    headers = [signed for signed in statements if isinstance(signed.statement, Header)]
    first, last = headers[0], headers[-1]
    before = len(statements)
    court.file(Note(signed=last))
    assert len(statements) == before, "the step is joined"
    work: Assignment = court.hearing.work
    court.begin(work)
    court.file(Note(signed=first))
    assert len(statements) == before, "it is of a step that is over"
    court.file(Note(signed=last))
    assert len(statements) == before + 1, "in work again, it counts"


class LateAccusation(Hook):
    """Refuses what is right, and accuses its maker once the initiator has looked into that and found nobody guilty."""

    def __init__(self, key: Callable[[], Identity], network: Callable[[], MemoryNetwork]) -> None:
        self._key, self._network = key, network

    async def before_post(self, destination: str, message: Message) -> Message | None:
        said = message.signed.statement if isinstance(message, Note) else None
        if destination != COORDINATOR or not isinstance(said, Settlement):
            return message
        refusal = Refusal(slot=said.slot, sender="worker-1", reason="made up")
        alert = Alert(slot=said.slot, root_in=said.root_in, root_out=MADE_UP, claimed=said.root_out)
        self._network().deliver("worker-2", COORDINATOR, Note(signed=self._key().sign(refusal)))
        return Note(signed=self._key().sign(alert))


def test_who_accuses_after_a_case_without_culprit_is_heard_and_found_false(
    key: Callable[[], Identity], make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[MemoryNetwork] = []

    def make() -> MemoryNetwork:
        made.append(MemoryNetwork())
        return made[-1]

    monkeypatch.setattr(deployment, "MemoryNetwork", make)
    trained = lie(LateAccusation(key, lambda: made[-1]), "before_use", make_model)
    assert culprits(trained) == {"worker-2"}
    checked = SMALL.steps * SMALL.micro_batches * 2
    assert len(trained.verdicts) == checked, "one for each slot that it accuses"


@pytest.mark.parametrize("number", [1821, 1877])
def test_a_consumer_that_is_the_checker_too_is_not_convicted_for_what_it_alone_was_sent(
    number: int, tmp_path: Path
) -> None:
    """Drawn runs in which the initiator's check was once found false."""
    drawn = draw_numbered(0, number, ["equivocate"])
    drawn = replace(drawn, case=replace(drawn.case, topology="chain"))
    examined = examine(drawn, model_folder(drawn.case, tmp_path))
    assert examined.fired > 0
    assert examined.broken == ()
