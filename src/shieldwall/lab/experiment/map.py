"""Where an attack bites: attacked over clean perplexity against steps, by learning rate, clipping and optimizer.

The curves are of the saved model on the validation text, attacked and clean at equal tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from shieldwall.lab.experiment.cell import Cell
from shieldwall.lab.experiment.claims import Claim, at_least
from shieldwall.lab.experiment.numbers import Spread, ratio_of, show
from shieldwall.lab.experiment.page import Page
from shieldwall.lab.experiment.paper import BACKWARD_CLAIM
from shieldwall.lab.experiment.pictures import Curve, Panel, draw_curves
from shieldwall.lab.experiment.plot import Plot, paper_attack
from shieldwall.lab.experiment.results import Results, unstopped
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.record import Column, Table

TITLE = "Where an attack bites: steps, learning rate, clipping, optimizer"
TUNED = False

RATE = 0.7
WAYS = ("forward", "backward")
_SETTING = ("family", "corpus", "optimizer", "learning_rate", "clipping")
_PANEL = ("family", "corpus", "optimizer", "learning_rate")


def cells(plot: Plot) -> list[Cell]:
    """Clean and attacked, for each optimizer, its learning rates and each clipping; one seed."""
    settings = [
        replace(plot.cell(), optimizer=optimizer, learning_rate=rate, clipping=clipping, steps=plot.scale.map_steps)
        for optimizer, rates in plot.scale.map_rates
        for rate in rates
        for clipping in plot.scale.map_clippings
    ]
    attacks = (None, *(paper_attack(way, RATE) for way in WAYS))
    return [replace(setting, attack=attack) for setting in settings for attack in attacks]


def page(results: Results, scale: Scale) -> Page:
    """A row for each setting and a panel for each optimizer and learning rate."""
    rows = [_row(group, results.where(**group)) for group in results.groups(*_SETTING)]
    columns = (
        *(Column(name, name.replace("_", " ")) for name in _SETTING),
        Column("clean told", "clean"),
        *(Column(f"{way} told", f"{way} {RATE:g}, times clean") for way in WAYS),
    )
    return Page(
        tables=(Table("map", f"Test perplexity after {scale.map_steps} steps, nothing stopped", columns, rows),),
        claims=tuple(_claims(rows)),
        notes=(
            "Learning rates are not tuned here, they are what is swept; one seed.",
            "A curve is drawn as far as both models have a perplexity; one that ends has left the finite numbers.",
        ),
        picture=draw_curves(
            f"Perplexity at rate {RATE:g}, times clean, against steps",
            [_panel(group, results.where(**group)) for group in results.groups(*_PANEL)],
        ),
    )


def _row(group: Mapping[str, Any], results: Results) -> dict[str, Any]:
    clean = results.where(attack=None).by_seed(unstopped)
    perplexity = next(iter(clean.values()), None)
    row: dict[str, Any] = {
        **group,
        "clean": perplexity,
        "clean told": show(math.inf if perplexity is None else perplexity),
    }
    for way in WAYS:
        attacked = results.where(attack=paper_attack(way, RATE))
        ratio = ratio_of(attacked.by_seed(unstopped), clean)
        row[way] = ratio.to_json() if ratio else None
        row[f"{way} told"] = _tell(ratio)
        row[f"{way} curve"] = _curve(attacked, results.where(attack=None))
    return row


def _tell(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio} x"


def _curve(attacked: Results, clean: Results) -> list[tuple[int, float]]:
    """Step and ratio on the validation text, where both have a perplexity."""
    below = {step: value for each in clean for step, value in each.outcome.curve}
    points = ((step, value, below.get(step)) for each in attacked for step, value in each.outcome.curve)
    return [(step, above / under) for step, above, under in points if above is not None and under is not None]


def _claims(rows: list[dict[str, Any]]) -> Iterator[Claim]:
    for way in WAYS:
        for clipping in sorted({row["clipping"] for row in rows}):
            mine = [row for row in rows if row["clipping"] == clipping and row[way]]
            ratios = [row[way]["values"][0] for row in mine]
            best = Spread((max(float("inf") if ratio is None else ratio for ratio in ratios),)) if ratios else None
            reached = sum(ratio is None or ratio >= BACKWARD_CLAIM for ratio in ratios)
            yield Claim(
                text=f"{way} {RATE:g} at least {BACKWARD_CLAIM:g} x clean under some setting",
                where=f"clipping {clipping}",
                verdict=at_least(BACKWARD_CLAIM, best),
                figures=f"{reached} of {len(ratios)} settings reach it; the most is {best or 'no'} x",
            )


def _panel(group: Mapping[str, Any], results: Results) -> Panel:
    curves = [
        Curve(
            name=f"{way}, clipping {clipping}",
            points=tuple(_curve(mine.where(attack=paper_attack(way, RATE)), mine.where(attack=None))),
            dashed=way == "backward",
            colour=place,
        )
        for place, clipping in enumerate(sorted({each.cell.clipping for each in results}))
        for mine in [results.where(clipping=clipping)]
        for way in WAYS
    ]
    title = f"{group['family']} {group['corpus']}, {group['optimizer']} {group['learning_rate']:g}"
    return Panel(title=title, curves=tuple(curve for curve in curves if curve.points))
