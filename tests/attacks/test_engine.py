"""The hook: whom it makes bad, what it leaves alone, and what it learns on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import torch
from worker_day import CHECKED, CHECKERS, HOLDERS, HOST, STAGES, hook_of, live, placed, random_tensor, slot_of, state_of

from shieldwall.attacks import AttackHook, AttackLog, PlacedAttack
from shieldwall.attacks.bits import same_bits
from shieldwall.core.compression import Compression
from shieldwall.core.hooks import Border, Update
from shieldwall.core.ids import Direction, Role
from shieldwall.core.messages import Committed, StageState, TensorFrame, View


def view(holders: dict[int, str], checkers: dict[int, str] = CHECKERS) -> View:
    return View(view=1, holders=holders, checkers=checkers, keys={}, arithmetic="class")


def accuses(hook: AttackHook, step: int) -> bool:
    border = Border(host=HOST, slot=slot_of(step, 0, Direction.FORWARD, stage=CHECKED))
    return not asyncio.run(hook.after_check(border, True))


def transient(kind: str) -> PlacedAttack:
    return placed(kind, worker=None, stage=None)


def test_the_transient_attacker_s_duties_follow_the_view() -> None:
    """Story: whoever has handed its stage over no longer acts for it, and the new holder does."""
    attack = transient("false_accusation")
    drawn = [attack.aim.drawn_stage(step) for step in range(20)]
    hook, _ = hook_of(attack)
    assert [accuses(hook, step) for step in range(20)] == [stage == 2 for stage in drawn]
    hook.see_view(view({**HOLDERS, 2: "worker-3"}))
    assert not any(accuses(hook, step) for step in range(20))
    hook.see_view(view({**HOLDERS, 1: HOST, 2: HOST}))
    assert [accuses(hook, step) for step in range(20)] == [stage in (1, 2) for stage in drawn]


def test_a_stage_that_is_handed_over_is_known_without_a_view() -> None:
    attack = transient("false_accusation")
    hook = AttackHook(HOST, [attack], log=AttackLog())
    assert not any(accuses(hook, step) for step in range(20))
    for stage, role in ((3, Role.STAGE), (1, Role.DUPLICATE)):
        asyncio.run(hook.before_hold(Update(host=HOST, stage=stage, step=0, role=role), state_of(stage), {}))
    assert [accuses(hook, step) for step in range(20)] == [attack.aim.drawn_stage(step) == 3 for step in range(20)]


def test_equivocation_follows_the_view() -> None:
    hook, log = hook_of(placed("equivocate"))
    border = Border(host=HOST, slot=slot_of(0, 0, Direction.FORWARD))
    tensor = random_tensor(1)
    hook.see_view(view({**HOLDERS, 3: "spare"}))
    assert asyncio.run(hook.before_send(border, "worker-3", tensor)) is tensor
    assert log.fired == 0
    assert asyncio.run(hook.before_send(border, "spare", tensor)) is not tensor
    assert log.fired == 1


def test_a_worker_by_name_attacks_all_its_stages_and_by_number_one() -> None:
    for stage, attacked in ((None, [1, 2, 3]), (2, [2])):
        hook, _ = hook_of(placed("sign_flip", stage=stage))
        tensor = random_tensor(1)
        hit = []
        for each in range(1, STAGES - 1):
            border = Border(host=HOST, slot=slot_of(0, 0, Direction.FORWARD, stage=each))
            if asyncio.run(hook.after_forward(border, tensor)) is not tensor:
                hit.append(each)
        assert hit == attacked


def test_attacks_of_one_hook_act_in_their_order_and_each_is_counted() -> None:
    hook, log = hook_of(placed("scale", factor=2.0, rate=1.0), placed("constant", value=1.0), placed("sign_flip"))
    border, tensor = Border(host=HOST, slot=slot_of(4, 0, Direction.FORWARD)), random_tensor(1)
    assert torch.equal(asyncio.run(hook.after_forward(border, tensor)), -torch.ones_like(tensor))
    assert log.by_kind == {"scale": 1, "constant": 1, "sign_flip": 1}
    assert log.fired == 3
    assert log.fired_in(HOST, 4)
    assert not log.fired_in(HOST, 5)
    assert not log.fired_by(HOST, 3)
    assert log.fired_by(HOST, 5)
    assert not log.fired_by("worker-1", 5)


def test_attacks_of_one_seed_strike_together() -> None:
    """The paper's attacker: forward the sign, backward noise, on the one stage that it controls in the step."""
    forward = placed("sign_flip", worker=None, stage=None, rate=0.5, direction="forward")
    backward = placed("gaussian", worker=None, stage=None, rate=0.5, direction="backward")
    assert [forward.aim.drawn_stage(step) for step in range(50)] == [
        backward.aim.drawn_stage(step) for step in range(50)
    ]


def test_what_passes_the_door_and_is_not_its_own_tensor_is_left_alone() -> None:
    hook, log = hook_of(placed("malformed"))
    report = Committed(host=HOST, step=1)
    relayed = TensorFrame(
        slot=slot_of(0, 0, Direction.FORWARD), source="worker-1", destination="worker-3", tensor=random_tensor(1)
    )
    for message in (report, relayed):
        assert asyncio.run(hook.before_post("coordinator", message)) is message
    assert log.fired == 0


def test_an_unsigned_run_has_no_signature_to_damage() -> None:
    hook, log = hook_of(placed("malformed", form="wrong_signature"))
    frame = TensorFrame(slot=slot_of(0, 0, Direction.FORWARD), source=HOST, destination="x", tensor=random_tensor(1))
    assert asyncio.run(hook.before_post("x", frame)) is frame
    assert log.fired == 0


def test_a_step_run_again_after_a_rollback_is_replayed_from_its_own_older_attempt() -> None:
    hook, _ = hook_of(placed("replay"))

    def post(step: int, attempt: int) -> TensorFrame:
        slot = slot_of(step, 0, Direction.FORWARD, attempt=attempt)
        frame = TensorFrame(slot=slot, source=HOST, destination="x", tensor=random_tensor(step, attempt))
        posted = asyncio.run(hook.before_post("x", frame))
        assert isinstance(posted, TensorFrame)
        return posted

    assert post(4, 0).slot.step == 4
    assert post(5, 0).slot.step == 4
    again = post(4, 1)
    assert (again.slot.step, again.slot.attempt) == (4, 0)


def test_a_wrong_update_needs_a_state_that_it_held() -> None:
    hook, log = hook_of(placed("wrong_update"))
    prepared = state_of(2)
    assert asyncio.run(hook.after_prepare(Update(host=HOST, stage=2, step=0), prepared)) is prepared
    assert log.fired == 0


def test_two_hooks_share_a_log() -> None:
    log = AttackLog()
    attacks = [placed("sign_flip", worker=worker, stage=None) for worker in (HOST, "worker-3")]
    hooks = [AttackHook(worker, attacks, log=log, holders=HOLDERS) for worker in (HOST, "worker-3", "worker-1")]
    slot = slot_of(0, 0, Direction.FORWARD)
    for hook in hooks:
        asyncio.run(hook.after_forward(Border(host="?", slot=slot), random_tensor(1)))
    assert log.struck == {(HOST, 0), ("worker-3", 0)}


def test_without_attacks_the_hook_changes_nothing_and_keeps_nothing() -> None:
    hook, log = hook_of()
    assert not any(event.changed for event in live(hook))
    assert log.fired == 0


def test_bits_are_compared_not_values() -> None:
    zero, nan = torch.zeros(2), torch.full((2,), float("nan"))
    assert not same_bits(zero, -zero)
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, zero.to(torch.float64))
    assert not same_bits(zero, zero.reshape(1, 2))
    assert same_bits(torch.tensor(1.0), torch.tensor(1.0))
    assert not same_bits(torch.tensor(1.0), torch.tensor(2.0))
    strided = torch.arange(6.0).reshape(2, 3).T
    assert same_bits(strided, strided.contiguous())


def test_before_the_first_step_there_are_no_moments_to_poison() -> None:
    hook, log = hook_of(placed("own_weights", target="moments"))
    prepared = StageState(parameters=state_of(2).parameters)
    update = Update(host=HOST, stage=2, step=0)
    assert asyncio.run(hook.before_commit(update, prepared)) is prepared
    assert log.fired == 0
    full = replace(prepared, moments=state_of(2).moments)
    assert asyncio.run(hook.before_commit(update, full)) is not full


def test_an_accomplice_covers_the_liar_s_stage_and_nothing_else() -> None:
    """One table, two hosts: worker-2 lies on stage 2, worker-3 checks stage 2 and says that it agrees."""
    attack = placed("collude", rate=0.5)
    accomplice, log = hook_of(attack, host="worker-3")
    slots = [slot_of(step, part, way) for step in range(5) for part in range(3) for way in Direction]
    for slot in slots:
        border = Border(host="worker-3", slot=slot)
        agrees = asyncio.run(accomplice.after_check(border, False))
        assert agrees == attack.aim.hits_work(HOST, slot)
        assert asyncio.run(accomplice.after_check(border, True)), "what agrees is settled as it is"
        assert asyncio.run(accomplice.after_forward(border, tensor := random_tensor(1))) is tensor
        elsewhere = Border(host="worker-3", slot=replace(slot, stage=1))
        assert not asyncio.run(accomplice.after_check(elsewhere, False))
    assert 0 < log.fired < len(slots)
    assert {worker for worker, _ in log.struck} == {"worker-3"}


def test_a_transient_liar_has_an_accomplice_wherever_it_is() -> None:
    attack = transient("collude")
    hook, _ = hook_of(attack, host="worker-3")
    for step in range(20):
        covered = [
            asyncio.run(hook.after_check(Border(host="worker-3", slot=slot_of(step, 0, way, stage=stage)), False))
            for way in (Direction.FORWARD, Direction.BACKWARD)
            for stage in (1, 2)
        ]
        drawn = attack.aim.drawn_stage(step)
        assert covered == [drawn == 1, drawn == 2] * 2
    hook.see_view(view({**HOLDERS, 1: "worker-3", 2: "worker-3"}))
    for step in range(20):
        border = Border(host="worker-3", slot=slot_of(step, 0, Direction.FORWARD))
        assert not asyncio.run(hook.after_check(border, False)), "nobody is an accomplice of itself"


def test_what_came_in_is_forgotten_when_the_work_is_done() -> None:
    hook, _ = hook_of(placed("lazy", form="skip", rate=0.5))
    slots = [slot_of(step, 0, Direction.FORWARD) for step in range(8)]
    skipped = []
    for slot in slots:
        border, came_in, honest = Border(host=HOST, slot=slot), random_tensor(slot.step), random_tensor(slot.step, 1)
        asyncio.run(hook.before_forward(border, came_in))
        made = asyncio.run(hook.after_forward(border, honest))
        skipped.append(made is not honest)
        assert torch.equal(made, came_in if made is not honest else honest)
        assert asyncio.run(hook.after_forward(border, honest)) is honest, "it has nothing left to send on"
    assert 0 < sum(skipped) < len(slots)


def test_a_lie_that_is_gone_once_it_is_packed_was_none() -> None:
    """Where borders are compressed, what its receivers get is what counts; the hook gives back the very tensor."""
    attack, tensor = placed("noise", strength=1e-9), random_tensor(1)
    border = Border(host=HOST, slot=slot_of(0, 0, Direction.FORWARD))
    for compression, fired in ((Compression("none"), 1), (Compression("int8"), 0)):
        log = AttackLog()
        hook = AttackHook(HOST, [attack], log=log, holders=HOLDERS, compression=compression)
        made = asyncio.run(hook.after_forward(border, tensor))
        assert (log.fired, made is tensor) == (fired, fired == 0)
