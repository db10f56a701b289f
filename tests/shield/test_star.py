"""Topology `star`: all tensors and statements between hosts pass the server, and the guarantees are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from harness import SETTLES, SMALL, When, assert_repaired, assert_silent, attack, culprits, known_parties, small_folder

from conftest import MakeModel
from oracle import Case, assert_bit_equal, train_pipeline, train_reference
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import COORDINATOR, SERVER
from shieldwall.core.messages import Message, Relay, TensorFrame
from shieldwall.core.statements import Header, Settlement
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.run import deployment
from shieldwall.run.shield import Parties
from shieldwall.transport import StarNetwork

STAR = replace(SMALL, topology="star")


@pytest.mark.parametrize("stages", [3, 4, 6, 8])
@pytest.mark.parametrize("when", [None, *SETTLES])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_a_star_trains_the_bits_of_the_plain_loop(
    schedule: str, when: When | None, stages: int, make_model: MakeModel
) -> None:
    """Checked or not, and with it those of a chain, whose plain loop is the same."""
    layers = max(6, stages)
    folder = make_model("gpt2", layers)
    case = Case(family="gpt2", schedule=schedule, stages=stages, layers=layers, when=when, steps=3, topology="star")
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    assert found.losses == expected.losses
    assert_silent(found)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("workers", [2, 3])
def test_fewer_workers_than_stages_keep_the_bits(workers: int, when: When, make_model: MakeModel) -> None:
    case = Case(family="llama", stages=7, layers=7, workers=workers, when=when, steps=2, topology="star")
    folder = make_model("llama", 7)
    found = train_pipeline(case, folder)
    assert_bit_equal(found.weights, train_reference(case, folder).weights)
    assert_silent(found)


class RecordingNetwork(StarNetwork):
    """Remembers what was sent, before it is refused or delivered."""

    def __init__(self, sent: list[tuple[str, str, Message]]) -> None:
        super().__init__()
        self._sent = sent

    def deliver(self, sender: str, destination: str, message: Message) -> None:
        self._sent.append((sender, destination, message))
        super().deliver(sender, destination, message)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Message]]:
    """Everything that the hosts of the next star send: sender, destination, message."""
    messages: list[tuple[str, str, Message]] = []
    monkeypatch.setattr(deployment, "StarNetwork", lambda: RecordingNetwork(messages))
    return messages


@pytest.mark.parametrize("when", SETTLES)
def test_nothing_goes_from_host_to_host_and_each_tensor_is_uploaded_once(
    when: When, sent: list[tuple[str, str, Message]], make_model: MakeModel
) -> None:
    case = replace(STAR, when=when)
    train_pipeline(case, small_folder(make_model))
    hosts = {host.name for host in case.hosts()}
    assert {sender for sender, _, _ in sent} == {*hosts, COORDINATOR, SERVER}
    assert {to for sender, to, _ in sent if sender in hosts} == {COORDINATOR, SERVER}

    frames = [(sender, to, each) for sender, to, each in sent if isinstance(each, TensorFrame)]
    uploads = [each for _, to, each in frames if to == SERVER]
    assert len({each.slot for each in uploads}) == len(uploads)
    assert len(uploads) == case.steps * case.micro_batches * 2 * (case.stages - 1)

    handed_on = [(to, each.slot) for sender, to, each in frames if sender == SERVER]
    assert len(set(handed_on)) == len(handed_on)
    meant_for = {(to, each.slot) for each in uploads if each.header for to in each.header.statement.destinations}
    assert set(handed_on) == meant_for

    relayed = [each.note.signed.statement for _, _, each in sent if isinstance(each, Relay)]
    assert {type(statement) for statement in relayed} == {Header, Settlement}


LIARS: list[dict[str, Any]] = [
    {"kind": "sign_flip"},
    {"kind": "gaussian", "rate": 0.5},
    {"kind": "wrong_update", "factor": 0.99},
    {"kind": "input_lie"},
    {"kind": "false_accusation"},
    {"kind": "lazy_checker"},
    {"kind": "own_weights", "target": "served"},
    {"kind": "replay", "sign_anew": True},
    {"kind": "replay", "sign_anew": True, "of": "micro_batch"},
]


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("table", LIARS, ids=lambda table: "-".join(map(str, table.values())))
def test_a_liar_is_named_and_changes_nothing(table: dict[str, Any], when: When, make_model: MakeModel) -> None:
    case = replace(STAR, when=when)
    trained = attack(case, make_model, {"stage": 2, **table}).trained
    assert culprits(trained) == {"worker-2"}
    assert_repaired(trained, case, make_model)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("to", ["consumer", "checker"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_who_uploads_something_else_than_it_signed_for_the_initiator_signed_two(
    direction: str, to: str, when: When, make_model: MakeModel
) -> None:
    """There is one upload, so all receivers are deceived alike; rule 3, whomever it was meant for."""
    case = replace(STAR, when=when)
    table = {"kind": "equivocate", "stage": 2, "direction": direction, "to": to}
    trained = attack(case, make_model, table).trained
    assert {(verdict.culprit, verdict.rule) for verdict in trained.verdicts} == {("worker-2", 3)}
    assert_repaired(trained, case, make_model)


class SecondUpload(Hook):
    """Uploads, behind each tensor, a header over another one for the same slot."""

    def __init__(self, networks: list[StarNetwork], parties: Callable[[], Parties]) -> None:
        self._networks, self._parties = networks, parties

    async def before_post(self, destination: str, message: Message) -> Message | None:
        if not isinstance(message, TensorFrame) or message.header is None:
            return message
        self._networks[-1].deliver("worker-2", destination, message)
        other = replace(message.header.statement, root_out="ab" * 32)
        return replace(message, header=self._parties()["worker-2"].sign(other))


@pytest.mark.parametrize("when", SETTLES)
def test_a_second_upload_reaches_nobody_and_convicts_its_signer(
    when: When, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[StarNetwork] = []

    def make() -> StarNetwork:
        networks.append(StarNetwork())
        return networks[-1]

    monkeypatch.setattr(deployment, "StarNetwork", make)
    hook = SecondUpload(networks, known_parties(monkeypatch))
    case = replace(STAR, when=when, hooks_of={"worker-2": [hook]})
    trained = train_pipeline(case, small_folder(make_model))
    assert {(verdict.culprit, verdict.rule) for verdict in trained.verdicts} == {("worker-2", 3)}
    assert trained.refusals == []
    assert_repaired(trained, case, make_model)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize(
    "table",
    [
        {"kind": "replay"},
        {"kind": "replay", "relabel": True},
        {"kind": "malformed", "form": "unsigned"},
        {"kind": "malformed", "form": "truncated"},
    ],
    ids=["replay", "relabelled", "unsigned", "truncated"],
)
def test_what_nobody_can_use_is_refused_by_those_it_was_meant_for(
    table: dict[str, Any], when: When, make_model: MakeModel
) -> None:
    """The server passes it on: who is sent nothing would wait."""
    case = replace(STAR, when=when)
    trained = attack(case, make_model, {"stage": 2, **table}).trained
    assert {refusal.sender for refusal in trained.refusals} == {"worker-2"}
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


def test_a_star_and_a_chain_find_the_same(make_model: MakeModel) -> None:
    """Who lies in what it makes is judged by the same slots, whichever way the tensors went."""
    table = {"kind": "sign_flip", "stage": 2}
    chain, star = (attack(replace(SMALL, topology=t), make_model, table).trained for t in ("chain", "star"))

    def cases(verdicts: Iterable[Verdict]) -> set[tuple[int, CaseDirection, int | None, int, int]]:
        return {(v.step, v.direction, v.micro_batch, v.stage, v.rule) for v in verdicts}

    assert cases(chain.verdicts) == cases(star.verdicts)
    assert_bit_equal(chain.weights, star.weights)
