"""Who is suspect, and who holds what around them: properties over generated custody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shieldwall.core.ids import INITIATOR
from shieldwall.recovery.detour import detour, suspects
from shieldwall.recovery.views import with_duplicates, without
from shieldwall.schedule import Host, make_plan, validate_plan


@st.composite
def custodies(draw: st.DrawFn) -> tuple[Host, ...]:
    """Stages of 2 or more workers in turns, some of whom have left since."""
    stages = draw(st.integers(4, 9))
    workers = draw(st.integers(2, stages - 2))
    middle = range(1, stages - 1)
    held = [Host(f"worker-{n + 1}", tuple(middle[n::workers])) for n in range(workers)]
    hosts = with_duplicates((Host(INITIATOR, (0, stages - 1)), *held))
    for gone in draw(st.lists(st.sampled_from([host.name for host in held]), unique=True, max_size=workers - 1)):
        hosts = without(hosts, gone, INITIATOR)
    return hosts


def workers_of(hosts: tuple[Host, ...]) -> set[str]:
    return {host.name for host in hosts} - {INITIATOR}


def held(hosts: tuple[Host, ...]) -> dict[int, str]:
    return {stage: host.name for host in hosts for stage in host.stages}


def checked(hosts: tuple[Host, ...]) -> dict[int, str]:
    return {stage: host.name for host in hosts for stage in host.duplicates}


@given(custodies(), st.data())
def test_nobody_who_is_left_out_has_anything_to_do(hosts: tuple[Host, ...], data: st.DataObject) -> None:
    out = data.draw(st.sets(st.sampled_from(sorted(workers_of(hosts)))))
    found = detour(hosts, out)
    before, after = held(hosts), held(found.hosts)
    assert workers_of(found.hosts) <= workers_of(hosts) - out
    assert set(found.bypassed) == {stage for stage, name in before.items() if name in out}
    for stage, name in before.items():
        assert after[stage] == (INITIATOR if name in out else name)


@given(custodies(), st.data())
def test_whoever_takes_part_is_checked_by_another(hosts: tuple[Host, ...], data: st.DataObject) -> None:
    out = data.draw(st.sets(st.sampled_from(sorted(workers_of(hosts)))))
    found = detour(hosts, out)
    before, after = checked(hosts), checked(found.hosts)
    for stage, name in held(found.hosts).items():
        if name == INITIATOR:
            assert stage not in after
        else:
            assert after[stage] not in {name, *out}
            assert after[stage] == (INITIATOR if before[stage] in out else before[stage])
    assert set(found.lent) == {stage for stage in after if before[stage] in out}


@given(custodies(), st.data())
def test_a_stage_learns_only_where_both_its_holders_take_part(hosts: tuple[Host, ...], data: st.DataObject) -> None:
    out = data.draw(st.sets(st.sampled_from(sorted(workers_of(hosts)))))
    found = detour(hosts, out)
    holders, checkers = held(hosts), checked(hosts)
    for stage in holders:
        one_is_out = holders[stage] in out or checkers.get(stage) in out
        assert (stage in found.still) is one_is_out


@given(custodies(), st.data(), st.sampled_from(["gpipe", "1f1b"]))
def test_the_way_around_can_be_planned(hosts: tuple[Host, ...], data: st.DataObject, schedule: str) -> None:
    out = data.draw(st.sets(st.sampled_from(sorted(workers_of(hosts)))))
    found = detour(hosts, out)
    plan = make_plan(schedule, len(held(hosts)), 2, found.hosts, when="before_use")
    validate_plan(plan)


@given(custodies())
def test_nobody_left_out_changes_nothing(hosts: tuple[Host, ...]) -> None:
    found = detour(hosts, ())
    assert (found.hosts, found.bypassed, found.still, found.lent) == (hosts, (), (), ())


@given(custodies(), st.data())
def test_suspects_are_those_who_could_have_done_it(hosts: tuple[Host, ...], data: st.DataObject) -> None:
    stage = data.draw(st.sampled_from(sorted(checked(hosts)) or [1]))
    holders, checkers = held(hosts), checked(hosts)
    near = {holders[stage], checkers.get(stage, INITIATOR)} - {INITIATOR}
    assert suspects(hosts, stage, "star") == near
    assert suspects(hosts, stage, "chain") == (near | {holders[stage - 1]}) - {INITIATOR}


def test_the_usual_pipeline_of_six() -> None:
    """An alert at host i leaves {i-1, i} suspect in a star and {i-2, i-1, i} in a chain."""
    workers = [Host(f"worker-{stage}", (stage,)) for stage in (1, 2, 3, 4)]
    hosts = with_duplicates((Host(INITIATOR, (0, 5)), *workers))
    assert suspects(hosts, 3, "star") == {"worker-3", "worker-4"}
    assert suspects(hosts, 3, "chain") == {"worker-2", "worker-3", "worker-4"}
    assert suspects(hosts, 4, "star") == {"worker-4"}
    assert suspects(hosts, 4, "chain") == {"worker-3", "worker-4"}
    assert suspects(hosts, 1, "chain") == {"worker-1", "worker-2"}
    found = detour(hosts, suspects(hosts, 3, "chain"))
    assert (found.bypassed, found.still, found.lent) == ((2, 3, 4), (1, 2, 3, 4), (1,))
