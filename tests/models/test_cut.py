"""Cutting: what is refused, and that the busiest host is as little busy as it can be."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall.core.errors import ModelError
from shieldwall.models import cut as cutting
from shieldwall.models.cut import UnitSeconds, balance_cut
from shieldwall.models.span import check_cut, even_cut, spans_of

times = st.floats(0.01, 10.0)


@st.composite
def problems(draw: st.DrawFn) -> tuple[UnitSeconds, list[str], dict[str, float]]:
    stages = draw(st.integers(1, 5))
    layers = draw(st.lists(times, min_size=stages, max_size=stages + 4))
    hosts = [draw(st.sampled_from(["a", "b", "c"])) for _ in range(stages)]
    speeds = {name: draw(st.floats(0.5, 4.0)) for name in ("a", "b", "c")}
    return UnitSeconds(embeddings=draw(times), layers=tuple(layers), head=draw(times)), hosts, speeds


def busiest(cut: list[int], seconds: UnitSeconds, hosts: list[str], speeds: dict[str, float]) -> float:
    load = dict.fromkeys(hosts, 0.0)
    for span, host in zip(spans_of(cut), hosts, strict=True):
        work = sum(seconds.layers[index] for index in span.layers)
        work += seconds.embeddings if span.embeddings else 0.0
        work += seconds.head if span.head else 0.0
        load[host] += work / speeds[host]
    return max(load.values())


@given(problem=problems())
def test_no_cut_leaves_the_busiest_host_less_busy(problem: tuple[UnitSeconds, list[str], dict[str, float]]) -> None:
    seconds, hosts, speeds = problem
    layers, stages = len(seconds.layers), len(hosts)
    found = balance_cut(seconds, hosts, speeds)
    check_cut(found, layers=layers, stages=stages)
    least = min(
        busiest([right - left for left, right in zip((0, *borders), (*borders, layers), strict=True)], *problem)
        for borders in combinations(range(1, layers), stages - 1)
    )
    assert busiest(found, *problem) == pytest.approx(least)


@given(problem=problems())
def test_moving_borders_never_ends_worse_than_an_even_cut(
    problem: tuple[UnitSeconds, list[str], dict[str, float]],
) -> None:
    seconds, hosts, speeds = problem
    start = even_cut(len(seconds.layers), len(hosts))
    found = cutting._improve(list(start), lambda cut: [busiest(list(cut), seconds, hosts, speeds)])
    check_cut(found, layers=len(seconds.layers), stages=len(hosts))
    assert busiest(found, *problem) <= busiest(start, *problem)


def test_a_heavy_head_and_a_slow_host_get_fewer_layers() -> None:
    seconds = UnitSeconds(embeddings=0.0, layers=(1.0,) * 12, head=3.0)
    hosts = ["initiator", "fast", "slow", "initiator"]
    cut = balance_cut(seconds, hosts, {"initiator": 1.0, "fast": 2.0, "slow": 0.5})
    assert cut[1] > cut[2]
    assert cut[0] == cut[3] == 1


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(ModelError, match=r"SW-M110: 4 layers cannot be cut into 6 stages"):
        check_cut([], layers=4, stages=6)
    with pytest.raises(ModelError, match=r"SW-M110"):
        balance_cut(UnitSeconds(embeddings=1.0, layers=(1.0,), head=1.0), ["a", "b"], {"a": 1.0, "b": 1.0})


@pytest.mark.parametrize("cut", [[1, 2], [2, 2, 3], [0, 3, 3], [6]])
def test_a_cut_that_does_not_add_up_is_refused(cut: list[int]) -> None:
    with pytest.raises(ModelError, match=r"SW-M111: the cut does not fit the model") as caught:
        check_cut(cut, layers=6, stages=3)
    assert "cut = [2, 2, 2]" in str(caught.value)
