"""Best fit: every example once, none cut, no row too full, and never another order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall.data import pack

cases = st.integers(1, 40).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=60), st.just(capacity))
)


def naive(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing, as it is told: look at every row, take the fullest that has room."""
    rows: list[list[int]] = []
    rooms: list[int] = []
    for example in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        fitting = [row for row, room in enumerate(rooms) if room >= lengths[example]]
        if not fitting:
            rows.append([])
            rooms.append(capacity)
            fitting = [len(rows) - 1]
        row = min(fitting, key=lambda row: rooms[row])
        rows[row].append(example)
        rooms[row] -= lengths[example]
    return rows


@given(case=cases)
def test_each_example_is_in_one_row_that_has_room(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    rows = pack(lengths, capacity)
    assert sorted(example for row in rows for example in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[example] for example in row) <= capacity for row in rows)


@given(case=cases)
def test_it_is_the_same_each_time_and_best_fit(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    rows = pack(lengths, capacity)
    assert rows == pack(lengths, capacity)
    filled = [sorted(lengths[example] for example in row) for row in rows]
    told = [sorted(lengths[example] for example in row) for row in naive(lengths, capacity)]
    assert sorted(map(sum, filled)) == sorted(map(sum, told))


@given(case=cases)
def test_two_rows_that_fit_into_one_never_stay_apart(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    sums = sorted(sum(lengths[example] for example in row) for row in pack(lengths, capacity))
    assert len(sums) < 2 or sums[0] + sums[1] > capacity


def test_the_order_of_a_known_case_stays() -> None:
    """Golden: a resumed run must see these rows."""
    assert pack([3, 7, 2, 5, 5, 1, 8, 3], 10) == [[6, 2], [1, 0], [3, 4], [7, 5]]


def test_many_examples_are_packed_fast_and_well() -> None:
    chance = random.Random(1)
    lengths = [chance.randint(1, 512) for _ in range(50_000)]
    rows = pack(lengths, 1024)
    assert sum(lengths) / 1024 <= len(rows) <= 1.01 * sum(lengths) / 1024


def test_mistakes_of_the_caller_are_refused() -> None:
    for lengths in ([3, 11], [0, 3]):
        with pytest.raises(ValueError, match="in rows of 10"):
            pack(lengths, 10)
