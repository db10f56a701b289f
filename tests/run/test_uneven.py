"""Machines of different speed and memory: the cut follows what they say, and never gives one more than it holds."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall import Config
from shieldwall.core.errors import PlanError, RunFolderError, StorageError, TransportError
from shieldwall.core.ids import INITIATOR, worker_name
from shieldwall.models.measure import ModelCosts, UnitCost
from shieldwall.models.span import spans_of
from shieldwall.recovery.views import without
from shieldwall.run.fitting import cut_before, joined_before
from shieldwall.run.folder import RunFolder
from shieldwall.run.machines.claims import Claim
from shieldwall.run.machines.inability import inability_of
from shieldwall.run.machines.speed import Probe
from shieldwall.run.memory import available_bytes
from shieldwall.run.model import model_settings
from shieldwall.run.planning import InFlight, Planner, configured_hosts, configured_source
from shieldwall.run.succession import Succession
from shieldwall.run.uneven import Fit, Machinery, fit, least_bytes
from shieldwall.schedule import Host

ROOMY = 1 << 40
UNIT = UnitCost(forward_s=1.0, backward_s=2.0, saved_bytes=1000, entry_bytes=100, trained_bytes=10_000, frozen_bytes=0)
NOTHING = replace(UNIT, forward_s=0.0, backward_s=0.0, saved_bytes=0, trained_bytes=0)


@cache
def _base() -> Planner:
    config = Config.load(None, ["model.width=16", "model.heads=2", "data.vocabulary=300", "data.block_tokens=16"])
    device = torch.device("cpu")
    model = model_settings(config, configured_source(config), device)
    costs = ModelCosts(embeddings=NOTHING, layers=(), head=NOTHING)
    return Planner(config=config, model=model, device=device, costs=costs, row_tokens=16)


def planner(layers: int, stages: int, workers: int, *more: str, ends: UnitCost = NOTHING) -> Planner:
    """Of a model whose layers all cost `UNIT`."""
    shape = [f"pipeline.stages={stages}", f"pipeline.workers={workers}", "pipeline.micro_batches=1", *more]
    config = Config.load(None, ["model.width=16", "model.heads=2", "data.block_tokens=16", *shape])
    costs = ModelCosts(embeddings=ends, layers=(UNIT,) * layers, head=ends)
    return replace(_base(), config=config, costs=costs)


def names(count: int, first: int = 0) -> list[str]:
    return [worker_name(first + index) for index in range(count)]


def fitted(
    made: Planner, claims: Mapping[str, Claim], bench: tuple[str, ...] = (), own_bytes: int = ROOMY, **more: Any
) -> Fit:
    workers = names(made.config.workers)
    return fit(made, Machinery(workers=workers, bench=bench, claims=claims, own_bytes=own_bytes), **more)


def loads(cut: list[int], hosts: tuple[Host, ...]) -> float:
    """What the busiest host needs for a micro-batch, duplicates included; layers alone cost."""
    return max(sum(cut[stage] for stage in (*host.stages, *host.duplicates)) * 3.0 / host.speed for host in hosts)


def cuts(layers: int, stages: int) -> list[list[int]]:
    edges = combinations(range(1, layers), stages - 1)
    return [[right - left for left, right in zip((0, *inner), (*inner, layers), strict=True)] for inner in edges]


@st.composite
def machineries(draw: st.DrawFn) -> tuple[Planner, dict[str, Claim], tuple[str, ...]]:
    stages = draw(st.integers(3, 6))
    policy = draw(st.sampled_from(["duplicate", "none"]))
    fewest = 2 if policy == "duplicate" and stages > 3 else 1
    workers, spares = draw(st.integers(fewest, stages - 2)), draw(st.integers(0, 1))
    made = planner(
        stages + draw(st.integers(0, 3)), stages, workers, f"verify.policy={policy}", f"pipeline.spares={spares}"
    )
    memory = st.one_of(st.just(ROOMY), st.integers(0, 1_000_000))
    claims = {name: Claim(draw(st.floats(0.05, 8.0)), draw(memory)) for name in names(workers + spares)}
    return made, claims, tuple(names(spares, workers))


@given(drawn=machineries())
@settings(deadline=None, max_examples=25)
def test_no_host_over_its_memory_none_checks_itself_and_the_busiest_is_as_little_busy_as_it_can_be(
    drawn: tuple[Planner, dict[str, Claim], tuple[str, ...]],
) -> None:
    made, claims, bench = drawn
    refused: PlanError | None
    try:
        found = fitted(made, claims, bench)
    except PlanError as error:
        refused = error
    else:
        refused = None
    if refused:
        assert refused.code == "SW-P202"
        assert any(name in refused.summary for name in claims)
        return
    plan, needs = found.run_plan.plan, found.run_plan.memory_bytes
    assert sorted(stage for host in plan.hosts for stage in host.stages) == list(range(plan.stages))
    for host in plan.hosts:
        assert not set(host.stages) & set(host.duplicates)
        assert host.name == INITIATOR or needs[host.name] <= claims[host.name].memory_bytes
    if made.config.checks:
        assert {stage for host in plan.hosts for stage in host.duplicates} == set(range(1, plan.stages - 1))
    assert {host.name for host in plan.hosts} | {*found.spares} == {INITIATOR, *claims}
    in_flight = InFlight.of(plan)
    fitting = [
        loads(cut, plan.hosts)
        for cut in cuts(len(made.costs.layers), plan.stages)
        if all(
            need <= (claims[name].memory_bytes if name in claims else ROOMY)
            for name, need in made.host_bytes(plan.hosts, spans_of(cut), in_flight).items()
        )
    ]
    assert loads(found.run_plan.cut, plan.hosts) == pytest.approx(min(fitting))
    assert fitted(made, claims, bench).run_plan.plan == plan


def test_a_slow_worker_is_given_less_and_it_is_said_why() -> None:
    made = planner(10, 4, 2, "verify.policy=none")
    found = fitted(made, {"worker-1": Claim(1.0, ROOMY), "worker-2": Claim(0.5, ROOMY)})
    assert found.run_plan.cut[1:3] == [4, 2]
    assert found.reasons == (
        "worker-1 is 1 x the initiator, with 1024.0 GiB of memory free: 4 layers instead of 3",
        "worker-2 is 0.5 x the initiator, with 1024.0 GiB of memory free: 2 layers instead of 3",
    )
    assert [host.speed for host in found.run_plan.plan.hosts] == [1.0, 1.0, 0.5]
    assert {host.processor for host in found.run_plan.plan.hosts} == {None}


def test_speeds_that_the_configuration_gives_count_more_than_claims() -> None:
    made = planner(10, 4, 2, "verify.policy=none", "pipeline.speeds=[2.0,2.0,1.0]")
    found = fitted(made, {"worker-1": Claim(0.1, ROOMY), "worker-2": Claim(9.0, ROOMY)})
    assert found.run_plan.cut[1:3] == [4, 2]


def test_little_memory_means_fewer_layers() -> None:
    made = planner(12, 4, 2, "verify.policy=none")
    room = fitted(made, {}).run_plan.memory_bytes["worker-1"]
    found = fitted(made, {"worker-1": Claim(1.0, room - 1), "worker-2": Claim(1.0, ROOMY)})
    assert found.run_plan.cut[1] < fitted(made, {}).run_plan.cut[1]
    assert "not all machines have room for that" in found.reasons[0]


def test_who_has_too_little_for_anything_is_a_spare_and_another_stands_in() -> None:
    made = planner(8, 4, 2)
    claims = {"worker-1": Claim(1.0, 5), "worker-2": Claim(1.0, ROOMY), "worker-3": Claim(1.0, ROOMY)}
    found = fitted(made, claims, bench=("worker-3",))
    assert [host.name for host in found.run_plan.plan.hosts] == [INITIATOR, "worker-3", "worker-2"]
    assert found.spares == ("worker-1",)
    assert found.reasons[0].startswith("worker-1 has 5 B of memory free and would need ")
    assert found.reasons[0].endswith(": a spare; worker-3 stands in")


def test_the_others_do_its_part_and_hold_no_stage_and_its_duplicate() -> None:
    made = planner(8, 5, 3)
    found = fitted(made, {"worker-2": Claim(1.0, 5)})
    hosts = {host.name: (host.stages, host.duplicates) for host in found.run_plan.plan.hosts}
    assert hosts == {INITIATOR: ((0, 4), (3,)), "worker-1": ((1, 3), (2,)), "worker-3": ((2,), (1,))}
    assert found.spares == ("worker-2",)


@pytest.mark.parametrize(("claims", "own_bytes"), [({"worker-1": Claim(1.0, 5)}, ROOMY), ({}, 7)])
def test_where_nothing_fits_the_error_says_who_needs_what(claims: dict[str, Claim], own_bytes: int) -> None:
    made = planner(8, 4, 2)
    with pytest.raises(PlanError, match=r"SW-P202: (worker-1|initiator) has too little memory") as caught:
        fitted(made, claims, own_bytes=own_bytes)
    assert caught.value.got == ("5 B free" if claims else "7 B free")
    assert "KiB free, of any cut the nearest to what there is" in caught.value.expected


def test_a_cut_that_is_settled_stays_and_hosts_are_dealt_anew() -> None:
    made = planner(8, 5, 3)
    found = fitted(made, {"worker-1": Claim(0.1, ROOMY), "worker-3": Claim(1.0, 5)}, cut=[1, 4, 1, 1, 1])
    assert found.run_plan.cut == [1, 4, 1, 1, 1]
    assert found.spares == ("worker-3",)


def test_without_claims_the_cut_is_that_of_machines_that_are_alike() -> None:
    made = planner(9, 5, 3)
    assert fitted(made, {}).run_plan.cut == made.usual().cut
    assert [host.stages for host in fitted(made, {}).run_plan.plan.hosts] == [
        host.stages for host in configured_hosts(made.config)
    ]


def test_the_least_that_is_of_use_holds_one_layer() -> None:
    made = planner(8, 4, 2, "verify.policy=none")
    in_flight = InFlight.of(made.usual().plan)
    least = least_bytes(made, in_flight)
    assert least == made.plan(configured_hosts(made.config), [2, 1, 1, 4]).memory_bytes["worker-1"]


def test_duties_go_over_to_whom_has_room_for_them() -> None:
    """Story: a spare that had too little memory for a stage was the first to be given one when another went."""
    made = planner(8, 5, 3)
    hosts = fitted(made, {}).run_plan.plan.hosts
    desk: Any = SimpleNamespace(coordinator=SimpleNamespace(gone={}, holders={}))
    asked: list[Host] = []

    def has_room(host: Host) -> bool:
        asked.append(host)
        return host.name == "roomy"

    succession = Succession(desk, hosts, ["narrow", "roomy"], portions=hosts, has_room=has_room)
    assert succession.dismiss("worker-2") == "roomy"
    assert [host.name for host in asked] == ["narrow", "roomy"]
    assert [(host.stages, host.duplicates) for host in asked] == [((2,), (1,))] * 2
    assert succession.hosts == without(hosts, "worker-2", "roomy")
    assert succession.dismiss("worker-1") == INITIATOR


@pytest.mark.parametrize(
    ("joined", "traces", "kept"),
    [
        (True, ["ledger.sqlite"], True),
        (False, ["ledger.sqlite"], True),
        (True, ["checkpoints/step-2"], True),
        (False, ["checkpoints/step-2"], False),
        (True, [], False),
    ],
)
def test_a_run_that_goes_on_keeps_the_cut_that_its_states_are_of(
    joined: bool, traces: list[str], kept: bool, tmp_path: Path
) -> None:
    said: dict[str, Any] = {"joined": {"worker-1": {"speed": 0.5, "memory_bytes": 9}}, "reasons": ["so"]}
    (tmp_path / "plan.json").write_text(json.dumps({"cut": [1, 4, 1], **(said if joined else {})}))
    for trace in traces:
        (tmp_path / trace).mkdir(parents=True)
    folder = RunFolder(tmp_path)
    assert cut_before(folder) == ([1, 4, 1] if kept else None)
    assert joined_before(folder) == (said if joined else {})


def test_a_recorded_cut_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    (tmp_path / "plan.json").write_text(json.dumps({"cut": [1, True, "4"]}))
    with pytest.raises(RunFolderError, match="SW-R107"):
        cut_before(RunFolder(tmp_path))


def test_the_probe_fits_the_run_and_measures() -> None:
    small = Probe.of(_base().model, rows=32)
    assert (small.rows, small.width, small.dtype) == (32, 16, torch.float32)
    assert Probe.of(_base().model, rows=10**9).rows <= 5e8 / (48 * 16 * 16)
    assert small.passes_per_s(torch.device("cpu")) > 0


def test_what_a_process_may_take_keeps_within_its_own_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = psutil.Process().memory_info().data
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20), before[1]))
        assert available_bytes(torch.device("cpu")) <= 64 << 20
        resource.setrlimit(resource.RLIMIT_DATA, (used // 2, before[1]))
        assert available_bytes(torch.device("cpu")) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (StorageError("SW-S101", "could not write"), "disk"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ""),
        (OSError(errno.EPIPE, "Broken pipe"), ""),
        (TransportError("SW-T112", "nobody answers"), ""),
    ],
)
def test_what_keeps_a_worker_from_going_on_is_told_from_other_errors(error: Exception, kind: str) -> None:
    assert inability_of(error) == kind


def test_the_allocator_itself_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert inability_of(caught.value) == "memory"
