"""When an attack is carried out: pure draws that nothing but seed and place decides."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.attacks import Aim
from shieldwall.core.ids import Direction, Slot

STAGES = 6
LAW = settings(max_examples=100, deadline=None, derandomize=True)

SLOTS = st.builds(
    Slot,
    run=st.just("test"),
    view=st.integers(0, 5),
    attempt=st.integers(0, 5),
    step=st.integers(0, 500),
    micro_batch=st.integers(0, 16),
    direction=st.sampled_from(Direction),
    stage=st.integers(1, STAGES - 2),
)
RATES = st.floats(0.0, 1.0)
GOLDEN_STAGES = [None, 1, None, 2, None, None, 4, 2, None, None, None, 2]
GOLDEN_STEPS = [0, 1, 2, 3, 4, 7, 13, 14]
SEEDS = st.integers(0, 2**31)
HOLDERS = {0: "initiator", 1: "ash", 2: "birch", 3: "cedar", 4: "birch", 5: "initiator"}


def fixed(worker: str = "birch", **fields: object) -> Aim:
    return replace(Aim(worker=worker, stage=None, stages=STAGES, seed=0), **fields)  # type: ignore[arg-type]


def transient(**fields: object) -> Aim:
    return replace(Aim(worker=None, stage=None, stages=STAGES, seed=0), **fields)  # type: ignore[arg-type]


def hits(aim: Aim, slot: Slot) -> tuple[bool, bool, bool]:
    return (
        aim.hits_work("birch", slot),
        aim.hits_duty("birch", slot, HOLDERS),
        aim.hits_update("birch", slot.step, slot.stage),
    )


@LAW
@given(slot=SLOTS, rate=RATES, seed=SEEDS, view=st.integers(0, 9), attempt=st.integers(0, 9))
def test_a_step_that_is_run_again_meets_the_same_attack(
    slot: Slot, rate: float, seed: int, view: int, attempt: int
) -> None:
    again = replace(slot, view=view, attempt=attempt)
    for aim in (fixed(rate=rate, seed=seed), transient(rate=rate, seed=seed)):
        assert hits(aim, slot) == hits(aim, again)


@LAW
@given(slot=SLOTS, low=RATES, high=RATES, seed=SEEDS)
def test_a_higher_rate_only_adds(slot: Slot, low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    for make in (fixed, transient):
        less, more = hits(make(rate=low, seed=seed), slot), hits(make(rate=high, seed=seed), slot)
        assert all(second or not first for first, second in zip(less, more, strict=True))


@LAW
@given(slot=SLOTS, seed=SEEDS)
def test_rate_0_is_never_and_rate_1_always(slot: Slot, seed: int) -> None:
    assert hits(fixed(rate=0.0, seed=seed), slot) == (False, False, False)
    assert hits(fixed(rate=1.0, seed=seed), slot) == (True, True, True)
    assert transient(rate=0.0, seed=seed).drawn_stage(slot.step) is None
    assert transient(rate=1.0, seed=seed).drawn_stage(slot.step) in range(1, STAGES - 1)


@LAW
@given(slot=SLOTS, seed=SEEDS)
def test_only_the_attacker_attacks_and_by_number_only_that_stage(slot: Slot, seed: int) -> None:
    aim = fixed(seed=seed, stage=3)
    assert not any((aim.hits_work("ash", slot), aim.hits_duty("ash", slot, HOLDERS), aim.hits_update("ash", 0, 3)))
    assert aim.hits_work("birch", slot) == (slot.stage == 3)
    assert aim.hits_update("birch", slot.step, slot.stage) == (slot.stage == 3)
    assert aim.hits_duty("birch", slot, HOLDERS), "a duty is the host's, whatever stage it checks"


@LAW
@given(slot=SLOTS, seed=SEEDS, rate=RATES)
def test_the_transient_attacker_holds_one_stage_for_the_whole_step(slot: Slot, seed: int, rate: float) -> None:
    """All micro-batches, both directions, update and duties, and no other stage or host."""
    aim = transient(seed=seed, rate=rate)
    drawn = aim.drawn_stage(slot.step)
    assert aim.hits_work("whoever", slot) == (slot.stage == drawn)
    assert aim.hits_update("whoever", slot.step, slot.stage) == (slot.stage == drawn)
    guilty = {name for name in ("ash", "birch", "cedar") if aim.hits_duty(name, slot, HOLDERS)}
    assert guilty == ({HOLDERS[drawn]} if drawn is not None else set())


@LAW
@given(slot=SLOTS, start=st.integers(0, 500), seed=SEEDS)
def test_nothing_happens_before_the_first_step(slot: Slot, start: int, seed: int) -> None:
    for aim in (fixed(from_step=start, seed=seed), transient(from_step=start, seed=seed)):
        if slot.step < start:
            assert hits(aim, slot) == (False, False, False)
    assert hits(fixed(from_step=start, seed=seed), slot) == (slot.step >= start,) * 3


@LAW
@given(slot=SLOTS)
def test_evaluation_counts_as_forward(slot: Slot) -> None:
    backward = slot.direction is Direction.BACKWARD
    assert fixed(direction="forward").hits_work("birch", slot) == (not backward)
    assert fixed(direction="backward").hits_work("birch", slot) == backward
    assert fixed(direction="both").hits_work("birch", slot)


def test_the_rate_is_the_share_and_stages_are_drawn_evenly() -> None:
    """4,000 draws; each count lies within 4 standard deviations, 4 * sqrt(n p (1 - p)), of its mean."""
    slot = Slot(run="test", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=2)
    for rate in (0.1, 0.5, 0.7):
        slots = [replace(slot, step=step, micro_batch=part) for step in range(1000) for part in range(4)]
        deviation = (4000 * rate * (1 - rate)) ** 0.5
        assert abs(sum(fixed(rate=rate).hits_work("birch", each) for each in slots) - 4000 * rate) < 4 * deviation
        drawn = [transient(rate=rate).drawn_stage(step) for step in range(4000)]
        assert abs(sum(stage is not None for stage in drawn) - 4000 * rate) < 4 * deviation
        for stage in range(1, STAGES - 1):
            share = rate / (STAGES - 2)
            assert abs(drawn.count(stage) - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


def test_draws_differ_between_micro_batches_directions_stages_and_seeds() -> None:
    slot = Slot(run="test", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=1)
    half = fixed(rate=0.5)

    def pattern(aim: Aim, **fields: object) -> list[bool]:
        return [aim.hits_work("birch", replace(slot, step=step, **fields)) for step in range(64)]  # type: ignore[arg-type]

    patterns = [
        pattern(half),
        pattern(half, micro_batch=1),
        pattern(half, direction=Direction.BACKWARD),
        pattern(half, direction=Direction.EVALUATION),
        pattern(half, stage=2),
        pattern(fixed(rate=0.5, seed=1)),
    ]
    assert len({tuple(each) for each in patterns}) == len(patterns)


def test_the_draws_are_published() -> None:
    """Numbers of this version: whoever changes them changes what every attacked run of the past did."""
    assert [transient(rate=0.5).drawn_stage(step) for step in range(12)] == GOLDEN_STAGES
    slot = Slot(run="test", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=2)
    fired = [step for step in range(16) if fixed(rate=0.5).hits_work("birch", replace(slot, step=step))]
    assert fired == GOLDEN_STEPS
