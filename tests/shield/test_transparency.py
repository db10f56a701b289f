"""Guarantee G1 with the shield on: nobody misbehaves, and the weights are those of the plain loop, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
from harness import SETTLES, When, assert_silent

from conftest import MakeModel
from oracle import Case, assert_bit_equal, train_pipeline, train_reference

WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "adapters": {"lora_rank": 4, "lora_dropout": 0.1},
    "packed": {"packed": True},
}


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("stages", [4, 6])
@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_checked_training_equals_plain_training(
    family: str,
    schedule: str,
    when: When,
    stages: int,
    way: str,
    make_model: MakeModel,
) -> None:
    """Dropout and clipping on; GPT-2's head is tied to its embeddings, Llama's is not."""
    folder = make_model(family)
    case = Case(family=family, schedule=schedule, stages=stages, when=when, steps=3, **WAYS[way])
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    assert found.losses == expected.losses
    assert_silent(found)
    assert [commit.step for commit in found.record.commits] == [0, 1, 2]


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_with_several_stages_keep_the_bits(workers: int, when: When, make_model: MakeModel) -> None:
    """A host that holds stages 1 and 3 and the duplicate of stage 2 keeps them apart."""
    folder = make_model("gpt2")
    case = Case(family="gpt2", schedule="1f1b", stages=6, workers=workers, when=when, steps=2)
    found = train_pipeline(case, folder)
    assert_bit_equal(found.weights, train_reference(case, folder).weights)
    assert_silent(found)


def test_packing_changes_something(make_model: MakeModel) -> None:
    """The packed cases above are packed: without it the weights are others."""
    folder = make_model("gpt2")
    case, packed = (Case(family="gpt2", stages=4, when="before_use", steps=1, packed=each) for each in (False, True))
    assert train_pipeline(case, folder).losses != train_pipeline(packed, folder).losses
