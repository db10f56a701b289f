"""The line to a run: slow ones through a proxy that is as bad as a real line, and the clean one beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening_run import PATIENT, ListeningRun, examine, failed, listening_run, only_failure

from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.run.machines.doctor.line import check_round_trip
from shieldwall.transport.faulty import Line


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningRun]:
    with listening_run(tmp_path_factory.mktemp("run")) as found:
        yield found


def test_a_line_with_a_long_delay(run: ListeningRun, tmp_path: Path) -> None:
    limits = replace(PATIENT, round_trip_s=0.1)
    with run.behind(Line(delay_s=0.06), Line(delay_s=0.06)) as address:
        ticket = run.ticket(address)
        found = only_failure(examine(tmp_path, ticket, limits=limits))
        assert failed(examine(tmp_path, ticket)) == []
    assert (found.check, found.about, found.prevents) == ("round trip", address, False)


SLOW = 200e3
"""Bytes a second."""


@pytest.mark.parametrize(
    ("there", "back", "check"), [(SLOW, 0.0, "bandwidth to the run"), (0.0, SLOW, "bandwidth from the run")]
)
def test_a_line_that_is_slow_one_way(there: float, back: float, check: str, run: ListeningRun, tmp_path: Path) -> None:
    limits = replace(PATIENT, bandwidth_bytes_s=SLOW * 1.01)
    with run.behind(Line(rate_bytes_s=there), Line(rate_bytes_s=back)) as address:
        ticket = run.ticket(address)
        found = only_failure(examine(tmp_path, ticket, limits=limits, thorough=True))
    assert (found.check, found.prevents) == (check, False)
    assert "for the largest tensor of the plan" in found.saw
    assert failed(examine(tmp_path, run.ticket(), limits=limits, thorough=True)) == []


def test_a_line_that_carries_next_to_nothing(run: ListeningRun, tmp_path: Path) -> None:
    limits = replace(PATIENT, answer_s=2.0)
    with run.behind(Line(rate_bytes_s=20e3), Line()) as address:
        found = only_failure(examine(tmp_path, run.ticket(address), limits=limits, thorough=True))
    assert (found.check, found.about) == ("line", address)


@given(times_s=st.lists(st.floats(1e-6, 5.0), min_size=1, max_size=20))
@settings(derandomize=True, deadline=None)
def test_the_median_round_trip_decides(times_s: list[float]) -> None:
    limit_s = Limits().round_trip_s
    assert check_round_trip(times_s, "192.0.2.7:7700", limit_s).passed is (median(times_s) <= limit_s)
