"""Checked plans as text and as pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from schedule_plans import checked_plans, own_hosts

from shieldwall.schedule import (
    Plan,
    StageCosts,
    chain_custody,
    draw_plan,
    equal_slots,
    make_plan,
    render_grid,
    render_lanes,
    usual_hosts,
)
from shieldwall.schedule.__main__ import main


def test_a_whole_grid() -> None:
    """A duplicate has its row below that of the next stage, which is on the same host under the chain's custody."""
    assert render_grid(make_plan("gpipe", 4, 2, chain_custody(own_hosts(4)), when="before_commit")) == (
        "gpipe, 4 stages, 2 micro-batches, training: 10 slots, 4 hosts idle 40.0% of the time\n"
        "checks settled before_commit\n"
        "\n"
        "slot             0  1  2  3  4  5  6  7  8  9\n"
        "stage 0  host-0  F0 F1 .  .  .  .  .  .  B0 B1\n"
        "stage 1  host-1  .  F0 F1 .  .  .  .  B0 B1 .\n"
        "stage 2  host-2  .  .  F0 F1 .  .  B0 B1 .  .\n"
        "check 1  host-2  .  d0 .  .  d1 .  .  .  e0 e1\n"
        "stage 3  host-3  .  .  .  F0 F1 B0 B1 .  .  .\n"
        "check 2  host-3  .  .  d0 .  .  .  .  e0 d1 e1\n"
        "\n"
        "F1 forward of micro-batch 1   B1 backward   d1 check of F1   e1 check of B1   . idle"
    )


def test_an_evaluation_of_some_micro_batches() -> None:
    hosts = chain_custody(usual_hosts(3))
    text = render_grid(make_plan("1f1b", 3, 4, hosts, training=False, when="before_use", only=[1, 3]))
    assert text.startswith("1f1b, 3 stages, 2 micro-batches, evaluation: 6 slots, 2 hosts idle")
    assert "\nchecks settled before_use\n" in text
    assert "d3" in text
    assert "e1" not in text


@given(checked_plans())
def test_grids_fit_and_show_every_pass_and_check(made: tuple[Plan, StageCosts]) -> None:
    """Law: 120 columns; in equal slots each row shows each of its computations once."""
    plan, costs = made
    for text in (render_grid(plan), render_grid(plan, costs)):
        assert max(map(len, text.splitlines())) <= 120
    lines = [line.split() for line in render_grid(plan).splitlines()]
    for stage in range(plan.stages):
        for word, letters in (("stage", "FB"), ("check", "de")):
            rows = [line for line in lines if line[:2] == [word, str(stage)]]
            cells = [cell for row in rows for cell in row[3:] if cell != "."]
            held = word == "stage" or plan.checker_of(stage) is not None
            kinds = letters if plan.training else letters[0]
            assert sorted(cells) == sorted(f"{kind}{m}" for kind in kinds for m in plan.chosen if held)
            assert {row[2] for row in rows} <= {plan.host_of(stage) if word == "stage" else plan.checker_of(stage)}


def test_lanes_list_checks_and_waits() -> None:
    plan = make_plan("gpipe", 3, 1, chain_custody(usual_hosts(3)), training=False, when="before_use")
    assert render_lanes(plan) == (
        "initiator    0: F0.0  SA0.0>worker-1  D1.0  RA1.0<worker-1  WA1.0<initiator  F2.0\n"
        "worker-1     0: RA0.0<initiator  F1.0  SA1.0>initiator"
    )


@settings(max_examples=5)
@given(checked_plans(most=3))
def test_any_plan_can_be_drawn(tmp_path_factory: pytest.TempPathFactory, made: tuple[Plan, StageCosts]) -> None:
    path = tmp_path_factory.mktemp("picture") / "plan.png"
    draw_plan(*made, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_checks_in_rows_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    plan = make_plan("gpipe", 4, 2, chain_custody(usual_hosts(4)), when="before_commit")
    draw_plan(plan, equal_slots(4), tmp_path / "plan.png")
    axes = seen[0].axes[0]
    assert axes.get_title(loc="left").startswith("gpipe, K = 4, M = 2, checked before_commit: bubble ")
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "stage 0  initiator", "stage 1  worker-1", "stage 2  worker-2", "check 1  worker-2", "stage 3  initiator",
        "check 2  initiator",
    ]  # fmt: skip
    assert sorted(text.get_text() for text in axes.texts) == sorted("01" * 12)
    words = [text.get_text() for text in seen[0].legends[0].get_texts()]
    assert words == ["forward", "backward", "check of forward", "check of backward"]


def test_the_command_draws_a_checked_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1f1b", "6", "4", "--when", "before_commit", "--apart", "--backward", "2"]) == 0
    out = capsys.readouterr().out
    assert "training: 28 slots of 1 s, 6 hosts idle 28.6% of the time\nchecks settled before_commit\n" in out
    assert "\ncheck 4  host-5" in out
    assert out.endswith("\n1.0370 times the step without checks\n")


def test_the_command_takes_the_length_of_a_backward_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpipe", "2", "1", "--backward", "3", "--apart"]) == 0
    assert "8 slots of 1 s, 2 hosts" in capsys.readouterr().out


def test_the_command_says_why_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpipe", "0", "--when", "before_use"]) == 2
    assert "SW-P102" in capsys.readouterr().err
    assert main(["gpipe", "3", "--backward", "-1"]) == 2
    assert "SW-P109" in capsys.readouterr().err
