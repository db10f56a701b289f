"""Kinds that send on another tensor than the stage made, against the same arithmetic written out here."""

from __future__ import annotations

import asyncio

import pytest
import torch
from torch import Tensor
from worker_day import HOST, at, day, fingerprint, hook_of, live, made, placed, random_tensor, slot_of

from shieldwall.attacks import AttackHook
from shieldwall.core.errors import ConfigError
from shieldwall.core.hooks import Border
from shieldwall.core.ids import Direction


def go(hook: AttackHook, tensor_BTD: Tensor, step: int = 0) -> Tensor:
    """What goes on in the place of one activation."""
    return asyncio.run(hook.after_forward(Border(host=HOST, slot=slot_of(step, 0, Direction.FORWARD)), tensor_BTD))


def moves(kind: str, **table: object) -> list[Tensor]:
    """(B, T, D) for each tensor made: by how much it was moved, over its deviation."""
    return [(sent - honest) / honest.std(correction=0) for honest, sent in made(kind, **table)]


def test_uniform_lies_between_its_bounds_and_fills_them() -> None:
    sent = torch.cat([sent.flatten() for _, sent in made("uniform", low=-1.0, high=3.0)])
    assert -1 <= float(sent.min()) < -0.9
    assert 2.9 < float(sent.max()) <= 3
    assert abs(float(sent.mean()) - 1) < 4 * 4 / (12 * len(sent)) ** 0.5
    plain = [sent for _, sent in made("uniform")]
    for wide, narrow in zip((sent for _, sent in made("uniform", low=-1.0, high=3.0)), plain, strict=True):
        torch.testing.assert_close(wide, 4 * narrow - 1)


def test_uniform_bounds_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"SW-A104[\s\S]+low must be below high"):
        placed("uniform", low=1.0)


def test_a_bias_is_one_vector_in_every_token_slot_and_step() -> None:
    found = moves("bias", strength=0.25)
    for move_BTD in found:
        torch.testing.assert_close(move_BTD, found[0][:1, :1].expand_as(move_BTD), atol=1e-5, rtol=1e-4)
    assert float(found[0][0, 0].square().mean().sqrt()) == pytest.approx(0.25, rel=1e-4)


def test_a_drift_grows_with_the_step_up_to_its_cap_along_the_bias() -> None:
    (bias_D, *_) = (move_BTD[0, 0] for move_BTD in moves("bias", strength=1.0))
    hook, _ = hook_of(placed("drift", slope=0.1, cap=0.35))
    honest_BTD = random_tensor(1)
    for step, length in ((0, 0.1), (1, 0.2), (2, 0.3), (3, 0.35), (50, 0.35)):
        move_BTD = (go(hook, honest_BTD, step) - honest_BTD) / honest_BTD.std(correction=0)
        torch.testing.assert_close(move_BTD, (length * bias_D).expand_as(move_BTD), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("over", "axis"), [("sequences", 0), ("tokens", 1), ("features", 2)])
def test_a_permutation_moves_whole_slices_of_one_axis(over: str, axis: int) -> None:
    for honest, sent in made("permute", over=over):
        before, after = ([fingerprint(part) for part in tensor.unbind(axis)] for tensor in (honest, sent))
        assert before != after
        assert set(before) == set(after)


def test_a_permutation_is_never_the_identity_and_needs_two_entries() -> None:
    """Of two sequences a draw would leave every second pair as it is."""
    hook, log = hook_of(placed("permute", over="sequences"))
    pair_BTD = random_tensor(1, shape=(2, 1, 4))
    assert all(torch.equal(go(hook, pair_BTD, step), pair_BTD.flip(0)) for step in range(12))
    assert log.fired == 12
    single_BTD = pair_BTD[:1]
    assert go(hook, single_BTD) is single_BTD
    assert log.fired == 12


def test_alie_and_inner_product_send_one_row_for_all_tokens() -> None:
    for honest, sent in made("alie", z=0.5):
        rows = honest.reshape(-1, honest.shape[-1]).double()
        deviation = ((rows - rows.mean(0)).square().mean(0)).sqrt()
        torch.testing.assert_close(sent.double(), (rows.mean(0) - 0.5 * deviation).expand_as(sent))
    for honest, sent in made("inner_product", epsilon=2.0):
        mean = honest.double().sum((0, 1)) / (honest.shape[0] * honest.shape[1])
        torch.testing.assert_close(sent.double(), (-2 * mean).expand_as(sent))
        assert float((sent.sum((0, 1)) @ honest.sum((0, 1))).sign()) == -1


def test_invisible_noise_leaves_the_other_entries_as_they_are() -> None:
    pairs = made("invisible_noise", share=0.25)
    replaced = torch.cat([(sent != honest).flatten() for honest, sent in pairs]).double()
    assert abs(float(replaced.mean()) - 0.25) < 4 * (0.25 * 0.75 / len(replaced)) ** 0.5


def test_invisible_noise_has_the_mean_and_deviation_of_each_feature() -> None:
    """8,000 rows whose features differ; counts and sums lie within 5 standard errors."""
    honest_BTD = random_tensor(1, shape=(8, 1000, 4)) * torch.tensor([1.0, 2, 3, 4]) + torch.tensor([0.0, 5, -5, 9])
    sent_BTD = go(hook_of(placed("invisible_noise", share=1.0))[0], honest_BTD)
    assert not torch.equal(sent_BTD, honest_BTD)
    for feature in range(4):
        sent, honest = sent_BTD[..., feature].double(), honest_BTD[..., feature].double()
        assert abs(float(sent.mean() - honest.mean())) < 5 * float(honest.std()) / 8000**0.5
        assert abs(float(sent.std() / honest.std()) - 1) < 5 / 16000**0.5


def test_a_backdoor_moves_whole_sequences_that_show_its_trigger_and_no_others() -> None:
    """Its direction is found as an attacker would keep it secret: by trying the axes of a space of two features."""
    hook, _ = hook_of(placed("backdoor", threshold=1.0, strength=0.5))
    angles = torch.arange(0, 360, 5).deg2rad()
    fan_BTD = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None, :]
    moved_B = (go(hook, fan_BTD) != fan_BTD).flatten(1).any(1)
    assert int(moved_B.sum()) in (17, 18, 19), "sqrt(2) * cos > 1 within 45 degrees: a quarter of the circle"
    nearest = angles[moved_B].sin().sum().atan2(angles[moved_B].cos().sum())
    away = torch.tensor([-nearest.cos(), -nearest.sin()])
    quiet_BTD = away.expand(3, 4, 2).clone()
    assert go(hook, quiet_BTD) is quiet_BTD
    loud_BTD = quiet_BTD.clone()
    loud_BTD[1, 2] = -away
    sent_BTD = go(hook, loud_BTD)
    assert torch.equal(sent_BTD[[0, 2]], loud_BTD[[0, 2]])
    move_TD = (sent_BTD - loud_BTD)[1] / loud_BTD.std(correction=0)
    torch.testing.assert_close(move_TD, move_TD[:1].expand_as(move_TD), atol=1e-5, rtol=1e-4)
    assert float(move_TD[0].square().mean().sqrt()) == pytest.approx(0.5, rel=1e-4)


def test_a_token_of_zeros_is_no_trigger() -> None:
    zeros_BTD = torch.zeros(2, 3, 4)
    assert go(hook_of(placed("backdoor", threshold=-2.0))[0], zeros_BTD) is zeros_BTD


@pytest.mark.parametrize(
    ("dtype", "bit", "before", "after"),
    [
        (torch.float32, 0, 1.0, -1.0),
        (torch.float32, 1, 1.0, float("inf")),
        (torch.float32, 8, 1.0, 0.5),
        (torch.float32, 9, 1.0, 1.5),
        (torch.float32, 4, 1.0, 2.0**-16),
        (torch.bfloat16, 0, 0.0, -0.0),
        (torch.bfloat16, 8, 1.0, 0.5),
        (torch.bfloat16, 15, 1.0, 1.0 + 2.0**-7),
        (torch.float16, 5, 1.0, 0.5),
        (torch.float16, 15, 1.0, 1.0 + 2.0**-10),
        (torch.float64, 11, 1.0, 0.5),
        (torch.float64, 12, 1.0, 1.5),
    ],
)
def test_bits_are_counted_from_the_sign_in_every_type(
    dtype: torch.dtype, bit: int, before: float, after: float
) -> None:
    honest_BTD = torch.full((1, 2, 3), before, dtype=dtype)
    sent_BTD = go(hook_of(placed("bit_flip", bit=bit, entries=2))[0], honest_BTD)
    assert sorted(map(str, sent_BTD.flatten().tolist())) == sorted([*[str(before)] * 4, *[str(after)] * 2])


def test_more_entries_than_there_are_is_all_of_them() -> None:
    honest_BTD = random_tensor(1)
    assert torch.equal(go(hook_of(placed("bit_flip", bit=0, entries=10**6))[0], honest_BTD), -honest_BTD)


@pytest.mark.parametrize("kind", ["uniform", "bias", "drift", "alie", "inner_product", "invisible_noise"])
def test_a_short_type_is_kept(kind: str) -> None:
    """In bfloat16 the sum is taken in float32 and rounded once."""
    honest_BTD = random_tensor(1).to(torch.bfloat16)
    hook, _ = hook_of(placed(kind))
    short_BTD, wide_BTD = go(hook, honest_BTD), go(hook, honest_BTD.float())
    if short_BTD is not honest_BTD:  # a drift of a thousandth may round away
        assert short_BTD.dtype == torch.bfloat16
    assert torch.equal(short_BTD, wide_BTD.to(torch.bfloat16))


def test_collusion_is_a_factor_and_its_checks_are_the_accomplice_s() -> None:
    """The day's worker lies on its own stage; what it checks is another's honest work."""
    events = day("collude", factor=3.0)
    for point in ("after_forward", "after_backward"):
        assert all(torch.equal(event.returned, 3 * event.given) for event in at(events, point))
    assert not [event for event in events if event.point == "after_check" and event.changed]


def test_a_day_is_silent_where_no_trigger_can_show() -> None:
    hook, log = hook_of(placed("backdoor", threshold=100.0))
    assert not any(event.changed for event in live(hook))
    assert log.fired == 0
