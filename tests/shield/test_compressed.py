"""Compressed borders change no guarantee: roots are of the bytes as sent, and every check compares those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from harness import (
    SETTLES,
    SMALL,
    When,
    assert_repaired,
    assert_silent,
    attack,
    clean_twin,
    culprits,
    known_parties,
    small_folder,
)

from conftest import MakeModel
from oracle import assert_bit_equal, train_pipeline
from shieldwall.core.compression import Compression, CompressionKind
from shieldwall.core.hooks import Hook
from shieldwall.core.messages import Message, TensorFrame
from shieldwall.core.roots import dtype_name
from shieldwall.core.statements import Header
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.run.shield import Parties
from shieldwall.schedule import TOPOLOGIES, Topology

INT8 = replace(SMALL, compression="int8")


class Recorder(Hook):
    """Keeps what its worker posts."""

    def __init__(self) -> None:
        self.frames: list[TensorFrame] = []

    async def before_post(self, destination: str, message: Message) -> Message | None:
        del destination
        if isinstance(message, TensorFrame):
            self.frames.append(message)
        return message


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_honest_work_stays_silent_and_what_is_signed_is_what_is_sent(
    topology: Topology, when: When, kind: CompressionKind, make_model: MakeModel
) -> None:
    recorder = Recorder()
    case = replace(SMALL, compression=kind, when=when, topology=topology, hooks_of={"worker-2": [recorder]})
    trained = train_pipeline(case, small_folder(make_model))
    assert_silent(trained)
    assert_repaired(trained, case, make_model)
    compression = Compression(kind)
    shape = compression.sent_shape((case.batch, case.block_tokens, 16))
    assert recorder.frames
    for frame in recorder.frames:
        header: Header = frame.header.statement  # type: ignore[union-attr]
        assert (tuple(frame.tensor.shape), frame.tensor.dtype) == (shape, compression.sent_dtype)
        assert (header.shape, header.dtype) == (shape, dtype_name(frame.tensor.dtype))
        assert header.root_out == tensor_root(frame.tensor)


LIARS: list[dict[str, Any]] = [
    {"kind": "sign_flip"},
    {"kind": "gaussian", "rate": 0.5},
    {"kind": "input_lie"},
    {"kind": "false_accusation"},
    {"kind": "equivocate"},
    {"kind": "wrong_gradient"},
    {"kind": "own_weights", "target": "served"},
    {"kind": "replay", "sign_anew": True},
    {"kind": "replay", "sign_anew": True, "of": "micro_batch"},
]


@pytest.mark.parametrize(("topology", "when"), [("chain", "before_commit"), ("star", "before_use")])
@pytest.mark.parametrize("table", LIARS, ids=lambda table: "-".join(map(str, table.values())))
def test_a_liar_is_named_and_changes_nothing(
    table: dict[str, Any], when: When, topology: Topology, make_model: MakeModel
) -> None:
    """The correction, too, is what a receiver unpacks: the weights are those of the clean compressed run."""
    case = replace(INT8, when=when, topology=topology)
    trained = attack(case, make_model, {"stage": 2, **table}).trained
    assert culprits(trained) == {"worker-2"}
    assert_repaired(trained, case, make_model)


@pytest.mark.parametrize("form", ["shape", "dtype", "truncated", "nan", "infinity", "altered"])
@pytest.mark.parametrize("when", SETTLES)
def test_a_frame_that_nobody_can_use_is_refused(form: str, when: When, make_model: MakeModel) -> None:
    case = replace(INT8, when=when)
    trained = attack(case, make_model, {"kind": "malformed", "form": form, "stage": 2}).trained
    assert {refusal.sender for refusal in trained.refusals} == {"worker-2"}
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


class OtherType(Hook):
    """Sends what it made as float32, rightly signed: of the size that is expected, and nothing that can be unpacked."""

    def __init__(self, parties: Callable[[], Parties]) -> None:
        self._parties = parties

    async def before_post(self, destination: str, message: Message) -> Message | None:
        del destination
        if not isinstance(message, TensorFrame) or message.header is None:
            return message
        tensor = message.tensor.float()
        header = replace(message.header.statement, dtype="float32", root_out=tensor_root(tensor))
        return replace(message, tensor=tensor, header=self._parties()["worker-2"].sign(header))


@pytest.mark.parametrize("when", SETTLES)
def test_a_frame_of_another_type_is_refused_before_anybody_unpacks_it(
    when: When, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = OtherType(known_parties(monkeypatch))
    case = replace(INT8, when=when, hooks_of={"worker-2": [hook]})
    trained = train_pipeline(case, small_folder(make_model))
    assert {refusal.reason for refusal in trained.refusals} == {"its type is torch.float32, not torch.int8"}
    assert {(verdict.culprit, verdict.rule) for verdict in trained.verdicts} == {("worker-2", 3)}
    assert_repaired(trained, case, make_model)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("respond", ["skip", "restart"])
def test_abandoned_steps_are_run_again_through_the_same_borders(
    respond: Any, topology: Topology, make_model: MakeModel
) -> None:
    """Restarted, the weights are the clean ones; around the suspects every step settles at the second attempt."""
    case = replace(INT8, respond=respond, topology=topology, steps=2, attempts=40)
    table: dict[str, Any] = {"kind": "sign_flip", "stage": 2}
    table |= {"rate": 0.2, "seed": 5, "each_attempt": True} if respond == "restart" else {}
    trained = attack(case, make_model, table).trained
    assert culprits(trained) == {"worker-2"}
    if respond == "skip":
        assert [course.abandoned for course in trained.courses] == [1] * case.steps
        assert all(course.bypassed for course in trained.courses)
    else:
        assert any(course.abandoned for course in trained.courses)
        assert_bit_equal(trained.weights, clean_twin(replace(case, respond="repair"), small_folder(make_model)).weights)
