"""What the answers to an attack are worth: the paper's Table 2.

Forward sign flips at rate 0.5 by the transient attacker. `skip` is the paper's method: the step goes on without the
suspects; `restart` throws the step away; `repair` puts the referee's tensors in the place of the false ones. Skipping
without an attack is the control: it shows that the response by itself changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shieldwall.lab.experiment.cell import Cell
from shieldwall.lab.experiment.claims import Claim, at_least, at_most, equal
from shieldwall.lab.experiment.numbers import ratio_of, spread_of
from shieldwall.lab.experiment.page import Page
from shieldwall.lab.experiment.paper import MODEL_OF_FAMILY, TABLE_2, Reasons, Table2Row, beside
from shieldwall.lab.experiment.pictures import Bar, BarGroup, draw_bars
from shieldwall.lab.experiment.plot import Plot, paper_attack
from shieldwall.lab.experiment.results import Results, early_stopped, unstopped
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.record import Column, Table

TITLE = "What the answers to an attack are worth (the paper's Table 2)"
TUNED = True

RATE = 0.5
CLOSE = 1.05
"""A perplexity within so many times the clean one is close to it."""

_GROUP = ("family", "corpus", "clipping")
_WHY = {
    "attacked": Reasons(
        less="the attack has to be trained into the model, and the paper ran 2,500 to 10,000 steps",
        more="a learning rate above the paper's 5e-6 trains it in faster, and the clean run is tuned",
    ),
    "skip": Reasons(
        less="a small model loses little by a bypassed stage",
        more="the paper's clean run, by which its ratio is taken, was neither tuned nor stopped early",
    ),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of the table."""

    name: str
    attacked: bool
    response: str
    topology: str = "chain"

    @property
    def wanted(self) -> dict[str, Any]:
        """Values of its cells."""
        attack = None
        if self.attacked:  # who tries again meets another draw; else no try could ever succeed
            attack = paper_attack("forward", RATE, each_attempt=self.response == "restart")
        return {"attack": attack, "response": self.response, "topology": self.topology}


def conditions(scale: Scale) -> list[Condition]:
    """The table's rows. Who is suspect depends on the topology, so skipping has a row for each; trying again ends with
    the clean run's weights in any, and without an attack nobody is."""
    first = scale.topologies[0]
    return [
        Condition("clean", False, "none"),
        Condition("attacked", True, "none"),
        Condition("repair", True, "repair"),
        Condition("restart", True, "restart", first),
        *(Condition(f"skip, {topology}", True, "skip", topology) for topology in scale.topologies),
        Condition("skip without attack", False, "skip", first),
    ]


def cells(plot: Plot) -> list[Cell]:
    """Every condition, for every seed."""
    return plot.each_seed(*(replace(plot.cell(), **condition.wanted) for condition in conditions(plot.scale)))


def page(results: Results, scale: Scale) -> Page:
    """Perplexities, ratios to clean, and the paper's beside them."""
    rows = [row for group in results.groups(*_GROUP) for row in _rows(group, results.where(**group), scale)]
    columns = (
        *(Column(name, name) for name in _GROUP),
        Column("condition", "condition"),
        Column("told", "test perplexity, early-stopped"),
        Column("ratio told", "times clean"),
        Column("unstopped", "at the last step"),
        Column("alerts told", "alerts"),
    )
    paper_columns = (
        Column("model", "model"),
        Column("corpus", "data"),
        Column("clean", "clean", "{:.2f}"),
        Column("attacked", "attacked", "{:,.2f}"),
        Column("defended", "skip layer", "{:.2f}"),
        Column("attacked ratio", "attacked / clean", "{:.1f}"),
        Column("defended ratio", "skip layer / clean", "{:.2f}"),
    )
    return Page(
        tables=(
            Table("perplexity", f"Forward sign flips at rate {RATE:g}, by what is done about them", columns, rows),
            Table("paper", "The paper's Table 2", paper_columns, list(_paper_rows())),
        ),
        claims=tuple(_claims(results, scale)),
        notes=(
            *_differences(rows),
            "In the paper the skip layer is better than the clean run in all 8 rows, which says that its clean runs"
            " were not at their best. Ours are early-stopped and tuned over the rates named here; where the greatest of"
            " them is chosen, or the best point is the last, a clean run could be better still.",
            "Without an attack nothing is skipped: that row shows that the response by itself changes nothing.",
            "The attacker of `restart` draws anew in each attempt at a step: one who strikes each attempt alike would"
            " let none succeed. Its count of alerts is not to be compared with the others'.",
        ),
        picture=draw_bars("Perplexity at forward rate 0.5, times the clean run's", _bars(rows), limit=1.0),
    )


def _rows(group: Mapping[str, Any], results: Results, scale: Scale) -> Iterator[dict[str, Any]]:
    clean = results.where(**conditions(scale)[0].wanted)
    for condition in conditions(scale):
        mine = results.where(**condition.wanted)
        found, ratio = spread_of(mine.by_seed(early_stopped)), _ratio(mine, clean)
        last = spread_of(mine.by_seed(unstopped))
        alerts = spread_of({each.cell.seed: float(each.outcome.alerts) for each in mine})
        yield {
            **group,
            "condition": condition.name,
            "perplexity": found.to_json() if found else None,
            "ratio": ratio.to_json() if ratio else None,
            "told": str(found or "not run"),
            "ratio told": str(ratio or ""),
            "unstopped": str(last or ""),
            "alerts": alerts.to_json() if alerts else None,
            "alerts told": f"{alerts.mean:g}" if alerts else "",
        }


def _ratio(above: Results, below: Results) -> Any:
    return ratio_of(above.by_seed(early_stopped), below.by_seed(early_stopped))


def _claims(results: Results, scale: Scale) -> Iterator[Claim]:
    named = {condition.name: condition for condition in conditions(scale)}
    for group in results.groups(*_GROUP):
        mine = results.where(**group)
        where = f"{group['family']} on {group['corpus']}"
        clean = mine.where(**named["clean"].wanted)
        for name in ("repair", "restart", "skip without attack"):
            yield _same_weights_claim(name, where, mine.where(**named[name].wanted), clean)
        attacked = _ratio(mine.where(**named["attacked"].wanted), clean)
        yield Claim(
            text="attacked at least 7 x clean",
            where=where,
            verdict=at_least(7.0, attacked),
            figures=f"{attacked or 'no'} x; the paper's eight rows have 5.2 to 86 x",
        )
        for topology in scale.topologies:
            skipped = _ratio(mine.where(**named[f"skip, {topology}"].wanted), clean)
            control = _ratio(mine.where(**named["skip without attack"].wanted), clean)
            yield Claim(
                text=f"skip close to or below the tuned clean run (at most {CLOSE:g} x)",
                where=f"{where}, {topology}",
                verdict=at_most(CLOSE, skipped),
                figures=f"{skipped or 'no'} x clean; without an attack {control or 'no'} x",
            )


def _same_weights_claim(name: str, where: str, ended: Results, clean: Results) -> Claim:
    roots = {each.cell.seed: each.outcome.weights_root for each in clean}
    same = [each.outcome.weights_root == roots[each.cell.seed] != "" for each in ended if each.cell.seed in roots]
    fired = sum(each.outcome.attacks_fired for each in ended)
    return Claim(
        text=f"{name} ends with the clean run's very weights",
        where=where,
        verdict=equal(same),
        figures=f"{sum(same)} of {len(same)} weights roots equal, {fired:,} tensors falsified",
        must=True,
    )


def _paper_rows() -> Iterator[dict[str, Any]]:
    for (model, corpus), row in TABLE_2.items():
        yield {
            "model": model,
            "corpus": corpus,
            "clean": row.clean,
            "attacked": row.attacked,
            "defended": row.defended,
            "attacked ratio": row.attacked / row.clean,
            "defended ratio": row.defended / row.clean,
        }


def _paper_ratio(row: Mapping[str, Any]) -> tuple[str, float] | None:
    """What the paper has for this row: a word for the reason of a difference, and the ratio to its clean run."""
    theirs: Table2Row | None = TABLE_2.get((MODEL_OF_FAMILY.get(row["family"], ""), row["corpus"]))
    if theirs is None:
        return None
    if row["condition"] == "attacked":
        return "attacked", theirs.attacked / theirs.clean
    return ("skip", theirs.defended / theirs.clean) if row["condition"].startswith("skip, ") else None


def _differences(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        theirs = _paper_ratio(row)
        if theirs and row["ratio"]:
            what = f"{row['family']} on {row['corpus']}, {row['condition']} (paper: {MODEL_OF_FAMILY[row['family']]})"
            yield beside(row["ratio"]["mean"], theirs[1], what, _WHY[theirs[0]])
    subjects = {(row["family"], row["corpus"]) for row in rows}
    for family, corpus in sorted(subjects):
        if (MODEL_OF_FAMILY.get(family, ""), corpus) not in TABLE_2:
            yield f"{family} on {corpus}: the paper's Table 2 has no such row."


def _bars(rows: list[dict[str, Any]]) -> list[BarGroup]:
    groups: dict[str, list[Bar]] = {}
    for row in rows:
        if row["condition"] != "clean":
            theirs = _paper_ratio(row)
            bar = Bar(name=row["condition"], ratio=row["ratio"], paper=theirs[1] if theirs else None)
            groups.setdefault(f"{row['family']} {row['corpus']}", []).append(bar)
    return [BarGroup(label, tuple(bars)) for label, bars in groups.items()]
