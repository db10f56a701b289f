"""The curves of a run as PNGs. Needs matplotlib, imported when it is used; no global state of it is touched."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from shieldwall.dashboard.recorded import Line

# Okabe and Ito's colours, told apart by every kind of sight, and in grey too.
_LINE, _MARK, _LEVEL = "#0072B2", "#D55E00", "black"
_FEW = 60
"""With fewer points than this each gets a dot; a curve of one point would not be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One curve on axes of its own."""

    label: str
    """Of the vertical axis, with the unit."""
    points: tuple[tuple[float, float], ...]
    sparse: bool = False
    """Measured now and then: dots are drawn and joined."""
    level: tuple[float, str] | None = None
    """A horizontal line, and what it says."""


def draw_panels(title: str, x_label: str, panels: Sequence[Panel]) -> bytes:
    """The panels below each other over one horizontal axis, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.2 + 2.8 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel)
    all_axes[0].set_title(title, loc="left", fontsize=12)
    all_axes[-1].set_xlabel(x_label)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def draw_loss(lines: Sequence[Line]) -> bytes:
    """Training loss of each step, and below it the perplexity of each evaluation where there are any."""
    panels = [Panel(label="training loss (nats)", points=tuple((line["step"], line["loss"]) for line in lines))]
    found = tuple((line["step"] + 1, line["eval_perplexity"]) for line in lines if "eval_perplexity" in line)
    if found:
        best = min(perplexity for _, perplexity in found)
        panels.append(Panel(label="evaluation perplexity", points=found, sparse=True, level=(best, f"best {best:.4g}")))
    return draw_panels("Loss, and perplexity on text that is not trained on", "steps committed", panels)


def draw_learning_rate(lines: Sequence[Line]) -> bytes:
    """The learning rate of each step."""
    return draw_panels("Learning rate", "step", [_each_step("learning rate", lines, "learning_rate")])


def draw_gradient_norm(lines: Sequence[Line], clip_norm: float) -> bytes:
    """The global norm of each step's gradients, and where clipping begins (`clip_norm`; 0 where nothing is clipped)."""
    level = (clip_norm, f"clipped to {clip_norm:g}") if clip_norm else None
    panel = _each_step("global norm before clipping", lines, "gradient_norm", level)
    return draw_panels("Gradient norm", "step", [panel])


def draw_throughput(lines: Sequence[Line]) -> bytes:
    """Tokens per second of each step, and their median."""
    median = statistics.median(line["tokens_per_second"] for line in lines)
    panel = _each_step("tokens / s", lines, "tokens_per_second", (median, f"median {median:,.0f} tokens/s"))
    return draw_panels("Throughput of each step, evaluation and saving left out", "step", [panel])


def _each_step(label: str, lines: Sequence[Line], key: str, level: tuple[float, str] | None = None) -> Panel:
    return Panel(label=label, points=tuple((line["step"], line[key]) for line in lines), level=level)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    steps, values = [point[0] for point in panel.points], [point[1] for point in panel.points]
    colour = _MARK if panel.sparse else _LINE
    marker = "o" if panel.sparse or len(steps) < _FEW else ""
    axes.plot(steps, values, color=colour, marker=marker, markersize=4, linewidth=1.4)
    if panel.level is not None:
        where, text = panel.level
        axes.axhline(where, color=_LEVEL, linestyle="--", linewidth=1.0, label=text)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, borderaxespad=0.2)
    axes.set_ylabel(panel.label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
