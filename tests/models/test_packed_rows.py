"""Rows that hold several examples: each token is computed as if its example stood alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from staged import logits_in_stages, stages_of, whole_model
from torch import Tensor

from conftest import MakeModel
from layouts import WINDOWS
from shieldwall.models.families import FAMILIES

LENGTHS = ((5, 8), (9, 4))
"""Tokens of the two examples in each of the two rows."""

WITH_ATTENTION = [(name, attention) for name in sorted(FAMILIES) for attention in FAMILIES[name].attentions]

NOT_BY_POSITIONS = {"bloom", "opt"}
"""Whole models that do not keep examples apart when they are told the positions."""


def packed_tokens() -> Tensor:
    return torch.randint(97, (2, 13), generator=torch.Generator().manual_seed(3))


def packed_positions() -> Tensor:
    return torch.stack([torch.cat([torch.arange(length) for length in row]) for row in LENGTHS])


def whole_logits(folder: Path, attention: str) -> Tensor:
    """What the whole model makes of the rows; without a cache, since with one it does not keep examples apart."""
    with torch.no_grad():
        whole = whole_model(folder, attention)
        logits: Tensor = whole(packed_tokens(), position_ids=packed_positions(), use_cache=False).logits
    return logits


def examples_alone(folder: Path, attention: str) -> Tensor:
    """Logits (B, T, V) of each example, computed alone, put where its tokens stand in the row."""
    stages = stages_of(folder, [1, 1, 1], attention)
    rows = []
    for tokens_T, lengths in zip(packed_tokens(), LENGTHS, strict=True):
        alone = [logits_in_stages(stages, tokens[None])[0] for tokens in tokens_T.split(lengths)]
        rows.append(torch.cat(alone))
    return torch.stack(rows)


@pytest.mark.parametrize(("family", "attention"), WITH_ATTENTION)
def test_examples_in_a_row_are_computed_as_if_alone(family: str, attention: str, make_model: MakeModel) -> None:
    folder = make_model(family, 3)
    stages = stages_of(folder, [1, 1, 1], attention)
    packed = logits_in_stages(stages, packed_tokens(), packed_positions())
    alone = examples_alone(folder, attention)
    assert torch.allclose(packed, alone, rtol=1e-5, atol=1e-5)
    told_nothing = logits_in_stages(stages, packed_tokens())
    assert not torch.allclose(told_nothing, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("family", "attention"), [pair for pair in WITH_ATTENTION if pair[0] not in NOT_BY_POSITIONS])
def test_packed_rows_have_the_whole_models_bits(family: str, attention: str, make_model: MakeModel) -> None:
    folder = make_model(family, 3)
    packed = logits_in_stages(stages_of(folder, [1, 1, 1], attention), packed_tokens(), packed_positions())
    assert torch.equal(packed, whole_logits(folder, attention))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_a_window_ends_where_the_example_begins(name: str, attention: str, tmp_path: Path) -> None:
    WINDOWS[name].write(tmp_path)
    packed = logits_in_stages(stages_of(tmp_path, [1, 1, 1], attention), packed_tokens(), packed_positions())
    assert torch.allclose(packed, examples_alone(tmp_path, attention), rtol=1e-5, atol=1e-5)
    assert torch.equal(packed, whole_logits(tmp_path, attention))
