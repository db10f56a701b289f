"""Workers in other processes: states go to them and come from them in chunks, and lies about states are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from harness import SMALL, assert_repaired, attack, clean_twin, culprits, lie, small_folder
from torch import Tensor

from conftest import MakeModel
from oracle import Case, train_pipeline
from shieldwall.core.flat_state import flatten_frozen, flatten_state
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import Assign, ChunkSent, KeptListed, ListKept, Message
from shieldwall.core.tensor_roots import tensor_roots
from shieldwall.core.verdicts import CaseDirection
from shieldwall.lab.small_run import model_settings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.span import even_cut, spans_of
from shieldwall.pipeline import host as host_module
from shieldwall.pipeline.transfer.kept import Kept
from shieldwall.pipeline.transfer.transfers import Transfers
from shieldwall.run import deployment
from shieldwall.run.states import Holding, Origin, stage_states

LIAR = "worker-2"
"""It holds stage 2, and checks stage 1."""
ADAPTERS = replace(SMALL, lora_rank=2)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every worker counts as one in another process; what is told of transfers."""
    texts: list[str] = []
    far = Transfers(
        is_far=lambda host: host != INITIATOR, state_bytes=1 << 20, tell=texts.append, chunk_bytes=512, tell_every_s=0.0
    )
    monkeypatch.setattr(deployment, "Transfers", lambda **_: far)
    return texts


@pytest.mark.parametrize(
    "case", [SMALL, ADAPTERS, replace(SMALL, topology="star", when=None)], ids=["", "lora", "star"]
)
def test_weights_are_the_same_to_the_bit(case: Case, told: list[str], make_model: MakeModel) -> None:
    folder = small_folder(make_model, case)
    trained = train_pipeline(case, folder)
    assert any("worker-3 receives stage 2" in text for text in told) == bool(case.when)
    assert any("worker-1 receives stage 1" in text for text in told)
    assert any("stage 2 comes from worker-2" in text for text in told)
    assert trained.verdicts == []
    assert_repaired(trained, case, make_model)


def test_a_state_poisoned_as_it_is_served_is_named(told: list[str], make_model: MakeModel) -> None:
    """The list of its roots gives it away; the state comes from the other holder."""
    trained = attack(SMALL, make_model, {"kind": "own_weights", "stage": 2, "target": "served"}).trained
    assert {(each.culprit, each.direction, each.rule) for each in trained.verdicts} == {(LIAR, CaseDirection.STATE, 5)}
    assert any("stage 2 comes from worker-3" in text for text in told)
    assert_repaired(trained, SMALL, make_model)


@pytest.mark.usefixtures("told")
def test_a_tensor_other_than_listed_is_named(make_model: MakeModel) -> None:
    class Tampers(Hook):
        fired = 0

        async def before_post(self, destination: str, message: Message) -> Message | None:
            if not isinstance(message, ChunkSent) or message.offset:
                return message
            self.fired += 1
            return replace(message, content=message.content ^ 1)

    hook = Tampers()
    trained = lie(hook, "before_commit", make_model)
    assert hook.fired
    assert {(each.culprit, each.direction) for each in trained.verdicts} == {(LIAR, CaseDirection.STATE)}


def starts(make_model: MakeModel) -> dict[int, Holding]:
    """What each stage starts from; anybody who has held it knows."""
    folder = small_folder(make_model)
    skeleton = build_skeleton(model_settings(SMALL, SMALL.config(folder)))
    spans = spans_of(even_cut(SMALL.layers, SMALL.stages))
    return {each.span.index: each for each in stage_states(skeleton, spans, Origin(base=folder, seed=SMALL.seed))}


def named(holding: Holding) -> Mapping[str, Tensor]:
    return {**flatten_state(holding.state), **flatten_frozen(holding.frozen)}


@pytest.mark.parametrize("honest", [True, False])
def test_who_says_that_it_still_has_a_state_and_has_not_is_found_by_the_next_check(
    honest: bool, told: list[str], make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to it. One that has the state trains on as if it had been sent; the other one is the culprit of
    the first step, for what it makes does not follow from the state that was co-signed."""
    holdings = starts(make_model)

    class Claims(Kept):
        async def list(self, order: ListKept, host: str, held: Mapping[str, Tensor]) -> KeptListed:
            if host == LIAR:
                self.put_away(order.stage, named(holdings[order.stage]))
            return await super().list(order, host, held)

        def resolve(self, order: Assign, host: str) -> Assign:
            order = super().resolve(order, host)
            if host != LIAR or honest:
                return order
            state = {name: torch.zeros_like(each) for name, each in order.state.parameters.items()}
            return replace(order, state=replace(order.state, parameters=state))

    assert tensor_roots(named(holdings[1])) != tensor_roots(named(holdings[2]))
    monkeypatch.setattr(host_module, "Kept", Claims)
    trained = train_pipeline(SMALL, small_folder(make_model))
    assert not any(f"{LIAR} receives" in text for text in told)
    assert culprits(trained) == (set() if honest else {LIAR})
    assert all(each.step == 0 for each in trained.verdicts if each.direction is CaseDirection.FORWARD)
    assert_repaired(trained, SMALL, make_model)
    assert clean_twin(SMALL, small_folder(make_model)).verdicts == []
