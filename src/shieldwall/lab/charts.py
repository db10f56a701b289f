"""One kind of picture for all benchmarks: a row for each variant, a dot for each repeat, a bar at the median."""

from __future__ import annotations

import io
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by every kind of sight; the median's mark is black, so grey print works too.
_REFERENCE, _OURS, _LIMIT = "#999999", "#0072B2", "#D55E00"


@dataclass(frozen=True, slots=True)
class ChartRow:
    """Measurements of one variant."""

    label: str
    values: tuple[float, ...]
    ours: bool
    """Whether it is shieldwall, not what it is held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is drawn."""

    title: str
    x_label: str
    rows: tuple[ChartRow, ...]
    limits: tuple[tuple[float, str], ...] = ()
    """Vertical lines: where, and what they say."""
    from_zero: bool = False
    form: str = "{:.2f}"
    """How a median is written."""


def draw_chart(chart: Chart) -> bytes:
    """The chart as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.0 + 0.45 * len(chart.rows)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(chart.rows):
        _draw_row(axes, place, row, chart.form)
    for where, text in chart.limits:
        axes.axvline(where, color=_LIMIT, linestyle="--", linewidth=1.2, label=text)
    _draw_frame(axes, chart)
    if chart.limits:
        figure.legend(loc="outside lower right", frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_row(axes: Axes, place: int, row: ChartRow, form: str) -> None:
    colour = _OURS if row.ours else _REFERENCE
    median = statistics.median(row.values)
    axes.plot([min(row.values), max(row.values)], [place, place], color=colour, linewidth=2.0, alpha=0.6)
    axes.plot(row.values, [place] * len(row.values), "o", color=colour, markersize=6, alpha=0.7)
    axes.plot([median], [place], "|", color="black", markersize=18, markeredgewidth=2.2)
    axes.annotate(
        form.format(median), (median, place), xytext=(0, 11), textcoords="offset points", ha="center", fontsize=9
    )


def _draw_frame(axes: Axes, chart: Chart) -> None:
    axes.set_yticks(range(len(chart.rows)), [row.label for row in chart.rows])
    axes.set_ylim(len(chart.rows) - 0.4, -0.7)
    axes.margins(x=0.06)
    axes.set_xlabel(f"{chart.x_label}; a dot for each repeat, a bar at the median")
    axes.set_title(chart.title, loc="left", fontsize=12)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if chart.from_zero:
        axes.set_xlim(left=0.0)
