"""What nobody can use is refused before use and recorded; a refusal proves no guilt, and the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from harness import SETTLES, SMALL, When, assert_repaired, attack, lie, small_folder
from torch import Tensor

from conftest import MakeModel
from oracle import train_pipeline
from shieldwall.attacks import AttackLog
from shieldwall.core.errors import NonFiniteError
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.messages import Message, TensorFrame
from shieldwall.lab.attacked_run import with_attacks
from shieldwall.lab.small_run import MemoryRecord

ATTACKER = "worker-2"
REASONS: Mapping[str, str] = {
    "unsigned": "it has no header",
    "wrong_signature": "its header is not signed by worker-2",
    "altered": "its header is of another slot",
    "shape": "its shape is (1, 128), not (1, 8, 16)",
    "truncated": "its shape is (1, 8, 8), not (1, 8, 16)",
    "dtype": "its type is torch.float64, not torch.float32",
    "nan": "its bytes are not those that the header binds",
    "infinity": "its bytes are not those that the header binds",
}


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("form", sorted(REASONS))
def test_a_damaged_frame_is_refused_and_recorded(form: str, when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when, steps=2)
    trained = attack(case, make_model, {"kind": "malformed", "stage": 2, "form": form}).trained
    assert {(refusal.sender, refusal.reason) for refusal in trained.refusals} == {(ATTACKER, REASONS[form])}
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("relabel", [False, True])
def test_a_replayed_frame_is_refused_and_recorded(relabel: bool, when: When, make_model: MakeModel) -> None:
    case = replace(SMALL, when=when)
    trained = attack(case, make_model, {"kind": "replay", "stage": 2, "relabel": relabel}).trained
    assert {refusal.sender for refusal in trained.refusals} == {ATTACKER}
    reasons = {refusal.reason for refusal in trained.refusals if refusal.slot.attempt == 0}
    old = {f"it is of step {step}, attempt {step and int(when == 'before_commit')}" for step in range(case.steps - 1)}
    assert reasons == ({"its header is of another slot"} if relabel else old)
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


class Oversized(Hook):
    """Sends a thousand times as much as was agreed, under the right header."""

    def __init__(self) -> None:
        self.fired = 0

    async def before_post(self, destination: str, message: Message) -> Message | None:
        if not isinstance(message, TensorFrame):
            return message
        self.fired += 1
        return replace(message, tensor=torch.cat([message.tensor] * 1000))


@pytest.mark.parametrize("when", SETTLES)
def test_an_oversized_frame_is_refused_and_recorded(when: When, make_model: MakeModel) -> None:
    hook = Oversized()
    case = replace(SMALL, when=when, steps=2, hooks_of={ATTACKER: [hook]})
    trained = train_pipeline(case, small_folder(make_model))
    assert hook.fired > 0
    assert {refusal.reason for refusal in trained.refusals} == {"its shape is (1000, 8, 16), not (1, 8, 16)"}
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


class OtherType(Hook):
    """Sends what it has made as numbers of another type, under a header of its own that says so."""

    def __init__(self) -> None:
        self.fired = 0

    async def before_send(self, border: Border, destination: str, tensor: Tensor) -> Tensor:
        del border, destination
        self.fired += 1
        return tensor.double()


@pytest.mark.parametrize("when", SETTLES)
def test_a_frame_of_another_type_is_refused_though_its_header_says_so(when: When, make_model: MakeModel) -> None:
    """Story: a host that computed on such a frame failed in its own kernels, since nothing packed the run's tensors."""
    hook = OtherType()
    trained = lie(hook, when, make_model)
    assert hook.fired > 0
    assert {refusal.reason for refusal in trained.refusals} == {"its type is torch.float64, not torch.float32"}


TABLES: list[list[dict[str, Any]]] = [[], [{"kind": "malformed", "stage": 2, "form": "unsigned"}]]


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("tables", TABLES, ids=["honest", "bad-frames"])
def test_a_genuine_nan_is_nobodys(when: When, tables: list[dict[str, Any]], make_model: MakeModel) -> None:
    """A learning rate that breaks the weights ends the run as it does without the shield, whoever sends bad frames."""
    case = replace(SMALL, when=when, peak_learning_rate=1e30, clip_norm=0.0)
    log, record, folder = AttackLog(), MemoryRecord(), small_folder(make_model)
    with pytest.raises(NonFiniteError, match="SW-N101") as unchecked:
        train_pipeline(replace(case, when=None), folder)
    with pytest.raises(NonFiniteError, match="SW-N101") as checked:
        train_pipeline(with_attacks(case, tables, log), folder, record)
    assert bool(log.fired) is bool(tables)
    assert checked.value.where == unchecked.value.where
    assert [event for event in record.events if isinstance(event, int)] == [0]
    assert not [each for each in record.statements if each.statement.kind == "verdict"]
