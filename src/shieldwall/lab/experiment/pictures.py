"""The experiments' pictures: bars on a log scale, curves, and a heat map."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every kind of sight.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#F0E442")
_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One condition: our ratio as `numbers.Spread.to_json` gives it, and the paper's where it has one."""

    name: str
    ratio: Mapping[str, Any] | None
    paper: float | None = None


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Bars that stand together."""

    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Steps and ratios."""

    name: str
    points: tuple[tuple[int, float], ...]
    dashed: bool
    colour: int
    """A number; curves of the same number have the same colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One of several small pictures."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One row of a heat map: column to share in [0, 1], None where there is none."""

    name: str
    cells: Mapping[float, float | None]


def draw_bars(title: str, groups: Sequence[BarGroup], *, limit: float) -> bytes:
    """Ratios to clean on a log scale; a line from least to greatest seed, a cross for the paper's.

    A bar that reaches the top and is hatched stands for a model without a perplexity.
    """
    longest = max((len(group.bars) for group in groups), default=1)
    figure, axes = _figure(4.0 + 0.28 * longest * max(1, len(groups)), 4.8)
    top = _top(groups)
    for place, group in enumerate(groups):
        width = 0.85 / len(group.bars)
        for number, bar in enumerate(group.bars):
            _draw_bar(axes, place - 0.425 + width * (number + 0.5), width, bar, _COLOURS[number % len(_COLOURS)], top)
    _scale_log(axes)
    axes.axhline(1.0, color="black", linewidth=0.8)
    if limit != 1.0:
        axes.axhline(limit, color="black", linestyle="--", linewidth=0.8)
        axes.annotate(f"{limit:g} x", (-0.6, limit), fontsize=8, va="bottom")
    axes.set_xticks(range(len(groups)), [group.label for group in groups], fontsize=8)
    axes.set_xlim(-0.65, len(groups) - 0.35)
    axes.set_ylabel("times clean, log scale; crosses: the paper's")
    _legend(figure, groups)
    return _save(figure, axes, title)


def _top(groups: Sequence[BarGroup]) -> float:
    values = [bar.ratio["greatest"] for group in groups for bar in group.bars if bar.ratio and bar.ratio["greatest"]]
    papers = [bar.paper for group in groups for bar in group.bars if bar.paper]
    return float(1.5 * max([*values, *papers, 10.0]))


def _draw_bar(axes: Axes, x: float, width: float, bar: Bar, colour: str, top: float) -> None:
    if bar.ratio:
        mean, least, greatest = bar.ratio["mean"], bar.ratio["least"], bar.ratio["greatest"]
        endless = mean is None
        height = top if endless else mean
        axes.bar(x, height - 1.0, 0.9 * width, bottom=1.0, color=colour, hatch="//" if endless else None)
        if least is not None and greatest is not None and least < greatest:
            axes.plot([x, x], [least, greatest], color="black", linewidth=1.2)
        axes.annotate("∞" if endless else f"{mean:.3g}", (x, greatest or height), fontsize=6, ha="center", va="bottom")
    if bar.paper is not None:
        axes.plot([x], [bar.paper], "x", color="black", markersize=6)


def _legend(figure: Figure, groups: Sequence[BarGroup]) -> None:
    from matplotlib.patches import Patch

    longest = max(groups, key=lambda group: len(group.bars), default=BarGroup("", ()))
    handles = [Patch(color=_COLOURS[number % len(_COLOURS)], label=bar.name) for number, bar in enumerate(longest.bars)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def draw_curves(title: str, panels: Sequence[Panel]) -> bytes:
    """Small pictures beside each other, ratio against steps, on a log scale that all share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(1, -(-len(panels) // _COLUMNS))
    figure = Figure(figsize=(11.0, 1.2 + 2.8 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        for curve in panel.curves:
            steps, ratios = zip(*curve.points, strict=True)
            style = "--" if curve.dashed else "-"
            axes.plot(steps, ratios, style, color=_COLOURS[curve.colour % len(_COLOURS)], label=curve.name)
        _scale_log(axes)
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set_title(panel.title, loc="left", fontsize=9)
        axes.set_xlabel("steps", fontsize=8)
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    if panels:
        shown = [axes.get_legend_handles_labels() for axes in grid.flat]
        named = {label: handle for handles, labels in shown for handle, label in zip(handles, labels, strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(title, fontsize=12)
    return _png(figure)


def draw_heat(title: str, x_label: str, rows: Sequence[HeatRow]) -> bytes:
    """A row for each name, a column for each value; dark is 1."""
    columns = sorted({column for row in rows for column in row.cells})
    figure, axes = _figure(5.0 + 0.7 * len(columns), 1.5 + 0.26 * max(1, len(rows)))
    for place, row in enumerate(rows):
        for number, column in enumerate(columns):
            share = row.cells.get(column)
            colour = "#EEEEEE" if share is None else (1.0 - 0.9 * share, 1.0 - 0.55 * share, 1.0 - 0.3 * share)
            axes.bar(number, 1.0, 1.0, bottom=place - 0.5, color=colour, edgecolor="white")
            told = "-" if share is None else f"{share:.0%}"
            axes.annotate(told, (number, place), fontsize=7, ha="center", va="center")
    axes.set_xticks(range(len(columns)), [f"{column:g}" for column in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"{x_label}; a dash: nothing was falsified")
    return _save(figure, axes, title)


def _scale_log(axes: Axes) -> None:
    """A log scale whose figures are written out, those between the powers too where there is room for them."""
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
    axes.tick_params(axis="y", which="both", labelsize=8)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, axes: Axes, title: str) -> bytes:
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
