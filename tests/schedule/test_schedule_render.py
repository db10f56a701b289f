"""Plans as text and as pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from schedule_plans import own_hosts, plans

from shieldwall.schedule import (
    Host,
    Plan,
    StageCosts,
    draw_plan,
    draw_timelines,
    equal_slots,
    make_plan,
    render_grid,
    render_lanes,
    simulate,
    usual_hosts,
)
from shieldwall.schedule.__main__ import main


def test_a_whole_grid() -> None:
    assert render_grid(make_plan("gpipe", 2, 2, own_hosts(2))) == (
        "gpipe, 2 stages, 2 micro-batches, training: 6 slots, 2 hosts idle 33.3% of the time\n"
        "\n"
        "slot             0  1  2  3  4  5\n"
        "stage 0  host-0  F0 F1 .  .  B0 B1\n"
        "stage 1  host-1  .  F0 F1 B0 B1 .\n"
        "\n"
        "F1 forward of micro-batch 1   B1 backward   . idle"
    )


def test_a_grid_with_costs() -> None:
    hosts = [Host("ash", (0,)), Host("birch", (1,), speed=2.0)]
    costs = StageCosts((1.0, 2.0), (2.0, 4.0), transfer_s=0.5)
    assert render_grid(make_plan("gpipe", 2, 1, hosts, costs), costs) == (
        "gpipe, 2 stages, 1 micro-batch, training: 7 slots of 1 s, 2 hosts idle 57.1% of the time\n"
        "\n"
        "slot            0  1  2  3  4  5  6\n"
        "stage 0  ash    F0 .  .  .  .  B0 =\n"
        "stage 1  birch  .  F0 B0 =  =  .  .\n"
        "\n"
        "F1 forward of micro-batch 1   B1 backward   . idle   = goes on   + several passes"
    )


def test_slots_are_equal_whatever_the_speed() -> None:
    plan = make_plan("gpipe", 3, 2, own_hosts(3))
    fast = replace(plan, hosts=tuple(replace(host, speed=3.0) for host in plan.hosts))
    assert render_grid(fast) == render_grid(plan)


def test_an_evaluation_has_no_backward_in_its_legend() -> None:
    text = render_grid(make_plan("gpipe", 1, 1, own_hosts(1), training=False))
    assert text.startswith("gpipe, 1 stage, 1 micro-batch, evaluation: 1 slot, 1 host idle 0.0%")
    assert "B1 backward" not in text


@given(plans())
def test_grids_fit_and_show_every_pass(made: tuple[Plan, StageCosts]) -> None:
    """Law: 120 columns; in equal slots each stage shows each of its passes once."""
    plan, costs = made
    for text in (render_grid(plan), render_grid(plan, costs)):
        assert max(map(len, text.splitlines())) <= 120
    rows = [line.split()[3:] for line in render_grid(plan).splitlines() if line.startswith("stage")]
    for stage in range(plan.stages):
        cells = [cell for row in rows[stage :: plan.stages] for cell in row if cell != "."]
        passes = [f"F{m}" for m in range(plan.micro_batches)]
        passes += [f"B{m}" for m in range(plan.micro_batches)] if plan.training else []
        assert sorted(cells) == sorted(passes)


def test_very_uneven_costs_give_a_grid_of_bounded_length() -> None:
    costs = StageCosts((1e-9, 100.0), (1e-9, 100.0))
    text = render_grid(make_plan("gpipe", 2, 3, own_hosts(2), costs), costs)
    assert "400 slots" in text
    assert "+" in text.splitlines()[3]


def test_lanes_with_and_without_a_mark() -> None:
    plan = make_plan("gpipe", 3, 1, usual_hosts(3), training=False)
    assert render_lanes(plan) == (
        "initiator    0: F0.0  SA0.0>worker-1  RA1.0<worker-1  F2.0\n"
        "worker-1     0: RA0.0<initiator  F1.0  SA1.0>initiator"
    )
    assert render_lanes(plan, ("worker-1", 1)) == (
        "initiator    0: F0.0  SA0.0>worker-1  RA1.0<worker-1  F2.0\n"
        "worker-1     0: RA0.0<initiator  F1.0  <-- HERE\n"
        "             2: SA1.0>initiator"
    )
    assert render_lanes(plan, ("initiator", 4)).splitlines()[0].endswith("F2.0  end of lane  <-- HERE")
    assert render_lanes(replace(plan, lanes=plan.lanes[:1]), ("worker-1", 0)).endswith("worker-1   no lane  <-- HERE")


@settings(max_examples=5, deadline=None)
@given(plans(most=3))
def test_any_plan_can_be_drawn(tmp_path_factory: pytest.TempPathFactory, made: tuple[Plan, StageCosts]) -> None:
    path = tmp_path_factory.mktemp("picture") / "plan.png"
    draw_plan(*made, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_picture_names_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    draw_plan(make_plan("gpipe", 6, 4, usual_hosts(6)), equal_slots(6), tmp_path / "plan.png")
    axes = seen[0].axes[0]
    assert axes.get_title(loc="left") == "gpipe, K = 6, M = 4: bubble 46.7% on 5 hosts, step 18 s"
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "stage 5  initiator"
    assert sorted(text.get_text() for text in axes.texts) == sorted("0123" * 12)


def test_steps_below_each_other_share_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measured step that took twice as long is drawn twice as long."""
    from matplotlib.figure import Figure

    seen: list[Figure] = []
    plan = make_plan("gpipe", 3, 2, own_hosts(3))
    fast, slow = simulate(plan, equal_slots(3)), simulate(plan, StageCosts((2.0,) * 3, (2.0,) * 3))
    assert draw_timelines(plan, [("predicted", fast), ("measured", slow)]).startswith(b"\x89PNG")
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    draw_timelines(plan, [("predicted", fast), ("measured", slow)])
    assert [axes.get_title(loc="left") for axes in seen[0].axes] == ["predicted", "measured"]
    assert {axes.get_xlim() for axes in seen[0].axes} == {(0.0, slow.step_s)}
    assert slow.step_s == 2 * fast.step_s


def test_the_command_draws_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpipe", "6", "4"]) == 0
    out = capsys.readouterr().out
    assert "stage 5  initiator  .  .  .  .  .  F0 F1 F2 F3 B0 B1 B2 B3 .  .  .  .  ." in out
    assert out.endswith("bubble 0.5556 (each stage on a host of its own)\n")
    assert max(map(len, out.splitlines())) <= 120


def test_the_command_says_why_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zigzag"]) == 2
    assert "SW-P101: there is no schedule 'zigzag'" in capsys.readouterr().err
