"""Rows: what is put in comes out, the rest is padding, and only what has something before it is a target."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.masking_utils import find_packed_sequence_indices

from shieldwall.data import IGNORED, Example, Rows, fill_rows

PAD = 7

examples = st.builds(
    lambda ids, first: Example(tuple(ids), min(first, len(ids) - 1)),
    st.lists(st.integers(0, 99), min_size=2, max_size=9),
    st.integers(0, 8),
)
lists = st.lists(examples, min_size=1, max_size=12)


def segments(tokens_T: Tensor, labels_T: Tensor, lengths: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels of each example of a row."""
    edges = [sum(lengths[:index]) for index in range(len(lengths) + 1)]
    return [(tokens_T[start:end].tolist(), labels_T[start:end].tolist()) for start, end in pairwise(edges)]


def expected(example: Example) -> tuple[list[int], list[int]]:
    ids = list(example.ids)
    return ids, [token if index >= max(1, example.first_target) else IGNORED for index, token in enumerate(ids)]


@given(found=lists, packing=st.booleans())
def test_every_example_is_in_one_row_whole_with_its_labels(found: list[Example], packing: bool) -> None:
    rows = fill_rows(found, 9, PAD, packing=packing)
    assert rows.labels_NT is not None
    assert rows.examples is not None
    held = []
    for tokens_T, labels_T, lengths in zip(rows.tokens_NT, rows.labels_NT, rows.examples, strict=True):
        held += segments(tokens_T, labels_T, lengths)
        assert set(tokens_T[sum(lengths) :].tolist()) <= {PAD}
        assert set(labels_T[sum(lengths) :].tolist()) <= {IGNORED}
    wanted = [expected(example) for example in found]
    assert sorted(held) == sorted(wanted)
    if not packing:
        assert held == wanted
    assert rows.tokens == sum(len(example.ids) for example in found)


@given(found=lists, packing=st.booleans(), chosen=st.data())
def test_a_batch_is_its_rows_cut_to_the_longest(found: list[Example], packing: bool, chosen: st.DataObject) -> None:
    rows = fill_rows(found, 9, PAD, packing=packing)
    assert rows.labels_NT is not None
    assert rows.examples is not None
    numbers = chosen.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
    batch = rows.take(torch.tensor(numbers))
    width = max(sum(rows.examples[number]) for number in numbers)
    assert batch.tokens_BT.tolist() == [rows.tokens_NT[number, :width].tolist() for number in numbers]
    assert batch.labels_BT.tolist() == [rows.labels_NT[number, :width].tolist() for number in numbers]
    assert batch.tokens_BT.is_contiguous()
    assert batch.labels_BT.is_contiguous()
    assert batch.tokens == sum(sum(rows.examples[number]) for number in numbers)
    assert batch.targets == sum(label != IGNORED for row in batch.labels_BT.tolist() for label in row)
    assert batch.targets == sum(label != IGNORED for row in batch.labels_BT[:, 1:].tolist() for label in row)
    several = any(len(rows.examples[number]) > 1 for number in numbers)
    assert (batch.positions_BT is not None) == several
    if batch.positions_BT is not None:
        for number, positions_T in zip(numbers, batch.positions_BT.tolist(), strict=True):
            lengths = rows.examples[number]
            parts = [*lengths, width - sum(lengths)]
            assert positions_T == [position for length in parts for position in range(length)]


def test_positions_keep_examples_and_padding_apart_for_transformers() -> None:
    """One token alone, then two, then padding: four parts, and no token of one sees another."""
    rows = Rows(torch.arange(12).view(2, 6), torch.arange(12).view(2, 6), ((1, 2, 1), (6,)))
    positions_BT = rows.take(torch.tensor([0, 1])).positions_BT
    assert positions_BT is not None
    assert positions_BT.tolist() == [[0, 0, 1, 0, 0, 1], [0, 1, 2, 3, 4, 5]]
    found = find_packed_sequence_indices(positions_BT)
    assert found is not None
    assert found.tolist() == [[0, 1, 1, 2, 3, 3], [0, 0, 0, 0, 0, 0]]


def test_full_rows_are_their_own_labels() -> None:
    tokens_NT = torch.arange(12).view(3, 4)
    batch = Rows(tokens_NT).take(torch.tensor([2, 0]))
    assert batch.tokens_BT.tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert batch.labels_BT is batch.tokens_BT
    assert batch.positions_BT is None
    assert (batch.targets, batch.tokens) == (6, 8)


def test_the_first_rows_are_kept() -> None:
    rows = fill_rows([Example((1, 2, 3), 1), Example((4, 5), 1)], 4, PAD, packing=False)
    assert rows.first(1).tokens_NT.tolist() == [[1, 2, 3, PAD]]
    assert rows.first(1).examples == ((3,),)
    assert rows.first(0) is rows
    assert len(Rows(torch.zeros(3, 2)).first(2)) == 2


def test_mistakes_of_the_caller_are_refused() -> None:
    tokens_NT = torch.zeros(2, 3, dtype=torch.int64)
    for labels_NT, lengths, said in (
        (None, ((3,), (2,)), "both labels and lengths"),
        (tokens_NT, None, "both labels and lengths"),
        (tokens_NT[:1], ((3,), (2,)), r"labels \(1, 3\) for tokens \(2, 3\)"),
        (tokens_NT, ((3,),), "lengths for 1 rows of 2"),
    ):
        with pytest.raises(ValueError, match=said):
            Rows(tokens_NT, labels_NT, lengths)
