"""Steps as pictures: when each stage works, as simulated or as measured.

Needs matplotlib, imported when it is used; no global state of it is touched.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shieldwall.schedule.actions import Kind
from shieldwall.schedule.costs import StageCosts
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.rows import Row, labels_of, rows_of
from shieldwall.schedule.simulate import Timeline, simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Word, box and number. The colours are Okabe and Ito's, told apart by every kind of sight, and in grey too.
# A check has the colour of the pass that it repeats, paler.
_LOOKS = {
    Kind.FORWARD: ("forward", "#56B4E9", "black"),
    Kind.BACKWARD: ("backward", "#D55E00", "white"),
    Kind.CHECK_FORWARD: ("check of forward", "#CDE7F5", "black"),
    Kind.CHECK_BACKWARD: ("check of backward", "#F2BF99", "black"),
}
_BAR = 0.8
_INCHES_FOR_A_PASS = 0.22
_WIDEST_INCHES = 24.0
_NUMBER_INCHES = 0.13


def draw_plan(plan: Plan, costs: StageCosts, path: Path) -> None:
    """Draw the simulated step as a PNG: a row for each stage and duplicate, a box for each pass and check, numbered.

    The number is the micro-batch.

    Args:
        plan: any plan that `validate_plan` accepts.
        costs: seconds of each stage on a host of speed 1.
        path: where the PNG goes; a file that is there is replaced.

    Raises:
        PlanError: as `simulate`; nothing was written.
        OSError: the file cannot be written.
    """
    timeline = simulate(plan, costs)
    noun = "host" if len(plan.lanes) == 1 else "hosts"
    checked = f", checked {plan.when}" if any(host.duplicates for host in plan.hosts) else ""
    star = ", star" if plan.topology == "star" else ""
    title = (
        f"{plan.schedule}, K = {plan.stages}, M = {len(plan.chosen)}{checked}{star}: "
        f"bubble {timeline.idle_share:.1%} on {len(plan.lanes)} {noun}, step {timeline.step_s:.4g} s"
    )
    _figure(plan, [(title, timeline)]).savefig(path, format="png")


def draw_timelines(plan: Plan, titled: Sequence[tuple[str, Timeline]]) -> bytes:
    """Draw several steps of one plan below each other over one clock, as a PNG: predicted and measured ones.

    Args:
        plan: whose stages and hosts are named.
        titled: each step with its title, from the top.
    """
    picture = io.BytesIO()
    _figure(plan, titled).savefig(picture, format="png")
    return picture.getvalue()


def _figure(plan: Plan, titled: Sequence[tuple[str, Timeline]]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = rows_of(plan)
    width = max(_width(timeline) for _, timeline in titled)
    figure = Figure(figsize=(width, len(titled) * (1.6 + 0.45 * len(rows))), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    longest_s = max(timeline.step_s for _, timeline in titled)
    all_axes = figure.subplots(len(titled), squeeze=False)[:, 0]
    for axes, (title, timeline) in zip(all_axes, titled, strict=True):
        _draw_passes(axes, rows, timeline, numbered_s=longest_s * _NUMBER_INCHES / width)
        _draw_frame(axes, rows, title, longest_s)
    handles, words = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower right", ncols=len(_LOOKS), frameon=False)
    return figure


def _width(timeline: Timeline) -> float:
    """Inches, so many that the number fits into the shortest box, within reason."""
    shortest = min((done.end_s - done.start_s for done in timeline.work if done.end_s > done.start_s), default=1.0)
    return min(_WIDEST_INCHES, max(9.0, 2.0 + _INCHES_FOR_A_PASS * timeline.step_s / shortest))


def _draw_passes(axes: Axes, rows: tuple[Row, ...], timeline: Timeline, numbered_s: float) -> None:
    """A box for each pass and check; those that take `numbered_s` seconds or more have room for a number."""
    heights = {(row.is_check, row.stage): height for height, row in enumerate(rows)}
    for kind, (word, colour, ink) in _LOOKS.items():
        passes = [done for done in timeline.work if done.kind is kind]
        if not passes:
            continue
        axes.barh(
            [heights[kind.is_check, done.stage] for done in passes],
            [done.end_s - done.start_s for done in passes],
            left=[done.start_s for done in passes],
            height=_BAR,
            color=colour,
            edgecolor="white",
            linewidth=0.8,
            label=word,
        )
        for done in passes:
            if done.end_s - done.start_s >= numbered_s:
                middle_s = (done.start_s + done.end_s) / 2
                height = heights[kind.is_check, done.stage]
                axes.text(middle_s, height, f"{done.micro_batch}", color=ink, ha="center", va="center_baseline")


def _draw_frame(axes: Axes, rows: tuple[Row, ...], title: str, longest_s: float) -> None:
    axes.set_yticks(range(len(rows)), labels_of(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, longest_s or 1.0)
    axes.set_xlabel("seconds; the number in a box is its micro-batch")
    axes.set_title(title, loc="left", fontsize=12)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
