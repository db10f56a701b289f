"""Each kind does what its formula says, against the same arithmetic written out here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from worker_day import (
    BACKWARD_TO,
    FORWARD_TO,
    HOST,
    KEY,
    Event,
    at,
    day,
    fingerprint,
    hook_of,
    live,
    made,
    placed,
    slot_of,
)

from shieldwall.core.hooks import Border
from shieldwall.core.ids import SERVER, Direction
from shieldwall.core.messages import StageState, TensorFrame
from shieldwall.core.signing import Roster
from shieldwall.core.tensor_roots import tensor_root


def test_sign_flip() -> None:
    for honest, sent in made("sign_flip"):
        assert torch.equal(sent, 0 - honest)


def test_gaussian_has_mean_0_and_deviation_1() -> None:
    sent = torch.cat([sent.flatten() for _, sent in made("gaussian")])
    assert abs(float(sent.mean())) < 4 / len(sent) ** 0.5
    assert abs(float(sent.std()) - 1) < 4 / (2 * len(sent)) ** 0.5


def test_a_matched_gaussian_is_the_same_numbers_moved_to_the_tensor_s_moments() -> None:
    pairs = zip(made("gaussian"), made("gaussian", match=True), strict=True)
    for (honest, phi), (_, sent) in pairs:
        torch.testing.assert_close(sent, honest.mean() + honest.std(correction=0) * phi)
        assert not torch.equal(sent, phi)


def test_random_numbers_differ_from_slot_to_slot_but_not_from_attempt_to_attempt() -> None:
    events = [each for each in day("gaussian") if each.point.startswith("after_") and each.slot and each.changed]
    by_place: dict[tuple[Any, ...], set[object]] = {}
    for each in events:
        assert each.slot is not None
        by_place.setdefault((each.step, each.slot.place), set()).add(fingerprint(each.returned))
    assert all(len(drawn) == 1 for drawn in by_place.values())
    assert len(set().union(*by_place.values())) == len(by_place)
    assert len(events) > len(by_place), "one step of the day is run twice"


def test_noise_is_measured_by_the_deviation_of_the_tensor() -> None:
    pairs = zip(made("gaussian"), made("noise", strength=0.25), strict=True)
    for (honest, phi), (_, sent) in pairs:
        torch.testing.assert_close(sent, honest + 0.25 * honest.std(correction=0) * phi)


def test_noise_that_rounds_away_is_no_attack() -> None:
    hook, log = hook_of(placed("noise", strength=1e-30))
    assert not any(event.changed for event in live(hook))
    assert log.fired == 0


def test_scale_and_constant() -> None:
    for honest, sent in made("scale", factor=1.01):
        assert torch.equal(sent, honest * 1.01)
    for honest, sent in made("constant", value=2.5):
        assert sent.shape == honest.shape
        assert set(sent.flatten().tolist()) == {2.5}


@pytest.mark.parametrize("target", ["parameters", "served"])
def test_own_weights_move_by_alpha_times_their_size(target: str) -> None:
    """In the same direction at every step: alpha = 0.2 goes twice as far as 0.1, on the same line."""
    point = "before_commit" if target == "parameters" else "before_serve"
    small = at(day("own_weights", target=target, alpha=0.1), point)[0]
    large = at(day("own_weights", target=target, alpha=0.2), point)[0]
    for name, honest in small.given.parameters.items():
        moved = small.returned.parameters[name] - honest
        torch.testing.assert_close(large.returned.parameters[name] - honest, 2 * moved, rtol=1e-4, atol=1e-6)
        size = float(moved.norm() / honest.norm())
        assert 0.02 < size < 0.3
    assert fingerprint(small.returned.moments) == fingerprint(small.given.moments)


def test_served_weights_are_poisoned_and_the_trained_ones_are_not() -> None:
    assert {event.point for event in day("own_weights", target="served") if event.changed} == {"before_serve"}


def test_poisoned_moments_leave_the_weights_and_the_step_counter() -> None:
    for event in at(day("own_weights", target="moments", alpha=0.5), "before_commit"):
        assert fingerprint(event.returned.parameters) == fingerprint(event.given.parameters)
        for name, kept in event.given.moments.items():
            after = event.returned.moments[name]
            assert torch.equal(after["step"], kept["step"])
            assert torch.equal(after["exp_avg"], kept["exp_avg"] * 1.5)
            assert torch.equal(after["exp_avg_sq"], kept["exp_avg_sq"] * 1.5)


def test_a_poisoned_base_leaves_the_adapters() -> None:
    (event,) = at(day("own_weights", target="frozen"), "before_hold")
    (state, base), (state_after, base_after) = event.given, event.returned
    assert state_after is state
    assert not torch.equal(base_after["base"], base["base"])


def test_wrong_gradients_by_form() -> None:
    for event in at(day("wrong_gradient", form="scale", factor=3.0), "before_prepare"):
        assert all(torch.equal(event.returned[name], 3 * honest) for name, honest in event.given.items())
    for event in at(day("wrong_gradient", form="zero"), "before_prepare"):
        assert not any(wrong.any() for wrong in event.returned.values())
    for event in at(day("wrong_gradient", form="negate"), "before_prepare"):
        for name, honest in event.given.items():
            assert torch.equal(event.returned[name].norm(), honest.norm()), "not a bit of the norm gives it away"
    for event in at(day("wrong_gradient", form="permute"), "before_prepare"):
        for name, honest in event.given.items():
            wrong = event.returned[name]
            assert not torch.equal(wrong, honest)
            assert torch.equal(wrong.flatten().sort().values, honest.flatten().sort().values)


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0])
def test_a_wrong_update_is_a_factor_on_the_step(factor: float) -> None:
    events = day("wrong_update", factor=factor)
    old: StageState = next(event for event in events if event.point == "before_hold").returned[0]
    for event in at(events, "after_prepare"):
        for name, honest in event.given.parameters.items():
            before = old.parameters[name]
            torch.testing.assert_close(event.returned.parameters[name], before + factor * (honest - before))
        assert fingerprint(event.returned.moments) == fingerprint(event.given.moments)
        old = event.returned


@pytest.mark.parametrize("to", ["consumer", "checker"])
def test_equivocation_deceives_one_kind_of_destination(to: str) -> None:
    sends = [event for event in day("equivocate", to=to) if event.point == "before_send" and event.slot]
    for event in sends:
        assert event.slot is not None
        parts = BACKWARD_TO if event.slot.direction is Direction.BACKWARD else FORWARD_TO
        assert event.changed == (parts[event.to] == to)
        if event.changed:
            assert torch.equal(event.returned, -event.given)


@pytest.mark.parametrize("to", ["consumer", "checker"])
def test_in_a_star_equivocation_is_in_the_one_upload(to: str) -> None:
    """Whomever it is meant for: all get the tensor from the server."""
    hook, log = hook_of(placed("equivocate", to=to, factor=2.0))
    border, tensor = Border(host=HOST, slot=slot_of(0, 0, Direction.FORWARD)), torch.ones(2)
    assert torch.equal(asyncio.run(hook.before_send(border, SERVER, tensor)), 2 * tensor)
    assert log.fired == 1


def test_an_input_lie_claims_another_input_and_nothing_else() -> None:
    claims = set()
    for event in at(day("input_lie"), "before_sign"):
        assert event.returned.root_in != event.given.root_in
        assert len(bytes.fromhex(event.returned.root_in)) == 32
        honest, lie = event.given.to_json(), event.returned.to_json()
        assert {name for name in honest if honest[name] != lie[name]} == {"root_in"}
        claims.add((event.step, event.given.slot.place, event.returned.root_in))
    assert len({root for *_, root in claims}) == len(claims), "each slot has a lie of its own, each attempt the same"


def test_duties() -> None:
    assert {event.returned for event in at(day("lazy_checker"), "before_check")} == {False}
    assert {event.returned for event in at(day("false_accusation"), "after_check")} == {False}


def test_false_accusations_come_at_their_rate() -> None:
    checks = [event for event in day("false_accusation", rate=0.5) if event.point == "after_check"]
    assert 0 < sum(event.changed for event in checks) < len(checks)


def frames(**table: Any) -> list[Event]:
    return [event for event in day(**table) if event.point == "before_post"]


def test_a_replay_takes_the_older_attempt_else_the_older_step() -> None:
    seen: dict[tuple[str, Any], TensorFrame] = {}
    for event in frames(kind="replay"):
        new: TensorFrame = event.given
        old = seen.get((new.destination, new.slot.place))
        assert event.returned is (old or new)
        assert event.changed == (old is not None)
        seen[new.destination, new.slot.place] = new
    pairs = [(event.given.slot, event.returned.slot) for event in frames(kind="replay") if event.changed]
    assert {(new.step, new.attempt, old.step, old.attempt) for new, old in pairs} == {
        (1, 0, 0, 0),
        (1, 1, 1, 0),
        (2, 0, 1, 1),
    }


def test_a_relabelled_replay_carries_the_old_header_under_the_new_slot() -> None:
    for event in frames(kind="replay", relabel=True):
        if event.changed:
            assert event.returned.slot == event.given.slot
            assert event.returned.header.statement.slot != event.given.slot
            assert Roster({HOST: KEY.public}).holds(event.returned.header)
            assert tensor_root(event.returned.tensor) == event.returned.header.statement.root_out


def test_the_micro_batch_before_arrives_as_this_one() -> None:
    """Header and tensor are those that were sent, of the same step; the first micro-batch has none before it."""
    honest = {(e.step, e.given.slot, e.to): e.given for e in frames(kind="replay", from_step=9)}
    for event in frames(kind="replay", of="micro_batch"):
        new: TensorFrame = event.given
        assert event.changed == (new.slot.micro_batch == 1)
        if event.changed:
            old = honest[event.step, replace(new.slot, micro_batch=0), event.to]
            assert fingerprint(event.returned) == fingerprint(replace(old, slot=new.slot))


@pytest.mark.parametrize("of", ["step", "micro_batch"])
def test_an_old_tensor_that_is_signed_anew_is_in_no_frame_s_way(of: str) -> None:
    """The tensor of the step or micro-batch before goes on as what was made; the frames are honest."""
    events = day("replay", of=of, sign_anew=True)
    assert {event.point for event in events if event.changed} <= {"after_forward", "after_backward"}
    honest = {fingerprint(event.given) for event in events if event.point.startswith("after_")}
    for event in events:
        if event.point in ("after_forward", "after_backward") and event.changed:
            assert fingerprint(event.returned) in honest
            assert fingerprint(event.returned) != fingerprint(event.given)
            assert event.step > 0 or of == "micro_batch"


MALFORMED: dict[str, Callable[[Any, Any], bool]] = {
    "unsigned": lambda new, _: new.header is None,
    "wrong_signature": lambda new, old: new.header.statement == old.header.statement and not holds(new),
    "altered": lambda new, old: new.header.statement != old.header.statement and not holds(new),
    "shape": lambda new, old: new.tensor.shape != old.tensor.shape and new.tensor.numel() == old.tensor.numel(),
    "dtype": lambda new, _: new.tensor.dtype == torch.float64,
    "truncated": lambda new, old: 2 * new.tensor.numel() == old.tensor.numel(),
    "nan": lambda new, _: int(new.tensor.isnan().sum()) == 1,
    "infinity": lambda new, _: int(new.tensor.isinf().sum()) == 1,
}


def holds(frame: TensorFrame) -> bool:
    assert frame.header is not None
    return Roster({HOST: KEY.public}).holds(frame.header)


@pytest.mark.parametrize("form", MALFORMED)
def test_a_malformed_frame_is_wrong_in_its_way(form: str) -> None:
    for event in frames(kind="malformed", form=form):
        assert holds(event.given)
        assert MALFORMED[form](event.returned, event.given)
        assert event.returned.slot == event.given.slot
