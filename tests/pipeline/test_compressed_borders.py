"""What crosses a border arrives rounded, and nothing else: the bits are those of a whole model that rounds there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from conftest import MakeModel
from oracle import Case, assert_bit_equal, train_pipeline, train_reference
from shieldwall.core.compression import CompressionKind

KINDS: tuple[CompressionKind, ...] = ("bf16", "int8")
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one for two": {"stages": 6, "workers": 2, "schedule": "1f1b"},
    "star": {"topology": "star"},
    "recomputing": {"gradient_checkpointing": True},
    "adapters": {"lora_rank": 4, "lora_dropout": 0.1},
    "bfloat16": {"dtype": torch.bfloat16},
    "autocast": {"autocast": True},
    "odd cut": {"cut": (1, 3, 2)},
    "two stages on the initiator": {"stages": 2},
}


@pytest.mark.parametrize(("kind", "family"), [("int8", "gpt2"), ("bf16", "llama")])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_the_pipeline_is_the_whole_model_that_rounds_at_its_borders(
    way: str, kind: CompressionKind, family: str, make_model: MakeModel
) -> None:
    """Forward and backward, dropout and clipping on; GPT-2's head is tied to its embeddings."""
    folder = make_model(family)
    case = replace(Case(family=family, stages=3, steps=2, compression=kind), **WAYS[way])
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    assert found.losses == expected.losses


def test_the_oracle_notices_a_border_that_does_not_round(make_model: MakeModel) -> None:
    """Each kind decides bits, and so does where the borders are."""
    folder = make_model("gpt2")
    case = Case(family="gpt2", stages=3, steps=3, dropout=0.0)
    ways = [
        case,
        *(replace(case, compression=kind) for kind in KINDS),
        replace(case, compression="int8", cut=(1, 4, 1)),
    ]
    losses = [tuple(train_pipeline(way, folder).losses) for way in ways]
    assert len(set(losses)) == len(ways)
