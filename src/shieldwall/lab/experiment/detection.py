"""Who is caught: every kind of attack x direction x rate x strength, on short runs with everything checked.

Each attack is carried out by the worker that holds stage 2 and is answered by repair. Nobody is expelled, so that an
attacker has every step to get away in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from shieldwall.attacks import ATTACKS, find_attack
from shieldwall.core.ids import worker_name
from shieldwall.lab.experiment.cell import Cell, CellAttack, Finished
from shieldwall.lab.experiment.claims import Claim, equal
from shieldwall.lab.experiment.page import Page
from shieldwall.lab.experiment.pictures import HeatRow, draw_heat
from shieldwall.lab.experiment.plot import Plot
from shieldwall.lab.experiment.results import Results
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.record import Column, Table
from shieldwall.lab.shield_property.laws import UNSEEN

TITLE = "Who is caught: kind x direction x rate x strength"
TUNED = False

ATTACKED_STAGE = 2
ATTACKER = worker_name(ATTACKED_STAGE - 1)
"""Holds it: every middle stage has a worker of its own, and stage 0 is the initiator's."""
LAG = 1
"""What poisons a state after the commit of a step is used, and noticed, in the next one."""

REFUSED = ("malformed", "replay")
"""Kinds whose frames are refused; a refusal is an alert and proves no guilt."""

STRENGTHS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "gaussian": ({"match": True}, {"match": False}),
        "noise": ({"strength": 1e-6}, {"strength": 1e-4}, {"strength": 1e-2}, {"strength": 1.0}),
        "scale": ({"factor": 1.01}, {"factor": 0.9}, {"factor": 0.0}, {"factor": 10.0}),
        "constant": ({"value": 0.0}, {"value": 1.0}),
        "replay": ({"relabel": False}, {"relabel": True}, {"of": "micro_batch"}, {"sign_anew": True}),
        "uniform": ({}, {"low": -1.0, "high": 1.0}),
        "bias": ({"strength": 1e-4}, {"strength": 1e-2}, {"strength": 1.0}),
        "stale_weights": ({"delay": 1}, {"delay": 4}),
        "permute": ({"over": "features"}, {"over": "tokens"}, {"over": "sequences"}),
        "alie": ({"z": 0.3}, {"z": 1.5}),
        "inner_product": ({"epsilon": 0.1}, {"epsilon": 1.0}),
        "drift": ({"slope": 1e-5}, {"slope": 1e-3}),
        "invisible_noise": ({"share": 0.001}, {"share": 0.01}, {"share": 0.1}),
        "backdoor": ({"threshold": 2.5}, {"threshold": 1.0}),
        "lazy": ({"form": "bfloat16"}, {"form": "int8"}, {"form": "skip"}, {"form": "frozen"}),
        "bit_flip": ({"bit": 15}, {"bit": 8}, {"bit": 4}, {"bit": 0}),
        "own_weights": ({"alpha": 1e-4}, {"alpha": 1e-2}, {"alpha": 0.1}),
        "wrong_gradient": ({"form": "scale"}, {"form": "permute"}, {"form": "negate"}, {"form": "zero"}),
        "wrong_update": ({"factor": 0.99}, {"factor": 0.0}, {"factor": 2.0}),
    }
)
"""Parameters of a kind, the weakest first; a kind that is not here has one strength, its defaults."""

NOT_PROMISED = frozenset(UNSEEN)
"""Kinds that the duplicate check does not see; their rows stand beside the others."""


def cells(plot: Plot) -> list[Cell]:
    """The clean twin, and every attack at every rate and strength."""
    base = replace(plot.cell(), response="repair", steps=plot.scale.detection_steps, points=1)
    attacks = [
        CellAttack(kind=kind, direction=direction, rate=rate, stage=ATTACKED_STAGE, parameters=tuple(strength.items()))
        for kind in sorted(ATTACKS)
        for direction in _directions(kind)
        for strength in STRENGTHS.get(kind, ({},))[: plot.scale.detection_strengths]
        for rate in plot.scale.detection_rates
    ]
    return [base, *(replace(base, attack=attack) for attack in attacks)]


def _directions(kind: str) -> tuple[str, ...]:
    found = tuple(way for way in find_attack(kind, "the grid").directions if way != "both")
    return found or ("",)


def page(results: Results, scale: Scale) -> Page:
    """A row for each attack, and what must hold of all of them."""
    rows = [row for group in results.groups("family", "corpus") for row in _rows(results.where(**group))]
    columns = (
        Column("family", "family"),
        Column("corpus", "corpus"),
        Column("attack", "attack"),
        Column("rate", "rate", "{:g}"),
        Column("fired", "falsified"),
        Column("caught", "steps caught", "{:.0%}"),
        Column("steps_to_detection", "steps to detection"),
        Column("culprit_right", "culprit right"),
        Column("false_accusations", "falsely accused"),
        Column("loss_difference", "last loss less clean's", "{:.3g}"),
        Column("same_weights", "clean weights"),
    )
    return Page(
        tables=(Table("detection", TITLE, columns, rows),),
        claims=tuple(_claims(rows, results)),
        notes=(
            f"The attacker is {ATTACKER}, which holds stage {ATTACKED_STAGE}; runs of"
            f" {scale.detection_steps} steps, settled before use, answered by repair, nobody expelled.",
            "Steps caught: of the steps in which something was falsified, those with an alert or a verdict in the same"
            " step, or in the next one, where a poisoned state is used first.",
            f"For {' and '.join(REFUSED)} a refusal is all there is: it proves no guilt, so nobody is named.",
        ),
        picture=_picture(rows),
    )


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    clean = [each for each in results if each.cell.attack is None]
    attacked = [_row(each, each.cell.attack, clean[0]) for each in results if each.cell.attack and clean]
    yield from sorted(attacked, key=lambda row: (row["attack"], row["rate"]))


def _row(found: Finished, attack: CellAttack, clean: Finished) -> dict[str, Any]:
    outcome = found.outcome
    noticed = set(outcome.noticed)
    caught = [step for step in outcome.struck if any(step + lag in noticed for lag in range(LAG + 1))]
    first = next((step for step in outcome.noticed if outcome.struck and step >= outcome.struck[0]), None)
    losses = outcome.train_loss, clean.outcome.train_loss
    return {
        "family": found.cell.family,
        "corpus": found.cell.corpus,
        "attack": str(replace(attack, rate=1.0)).replace(" 1", "", 1),
        "kind": attack.kind,
        "direction": attack.direction,
        "parameters": dict(attack.parameters),
        "rate": attack.rate,
        "fired": outcome.attacks_fired,
        "struck_steps": len(outcome.struck),
        "caught": len(caught) / len(outcome.struck) if outcome.struck else None,
        "steps_to_detection": first - outcome.struck[0] if first is not None else None,
        "culprits": list(outcome.culprits),
        "culprit_right": _is_right(outcome.culprits, attack.kind) if outcome.struck else None,
        "false_accusations": outcome.false_accusations,
        "loss_difference": None if None in losses else float(losses[0] or 0.0) - float(losses[1] or 0.0),
        "same_weights": outcome.weights_root == clean.outcome.weights_root,
    }


def _is_right(culprits: tuple[str, ...], kind: str) -> bool | None:
    """Whether the attacker of a struck run and nobody else was named; None where a refusal is all there is."""
    if not culprits:
        return None if kind in REFUSED else False
    return culprits == (ATTACKER,)


def _claims(rows: list[dict[str, Any]], results: Results) -> Iterator[Claim]:
    promised = [row for row in rows if row["kind"] not in NOT_PROMISED]
    struck = [row for row in promised if row["struck_steps"]]
    named = [row for row in struck if row["culprit_right"] is not None]
    clean = [each.outcome for each in results if each.cell.attack is None]
    laws = (
        ("every step in which something was falsified is caught", [row["caught"] == 1.0 for row in struck]),
        ("the attacker is named, and nobody else", [bool(row["culprit_right"]) for row in named]),
        ("nobody is accused falsely", [row["false_accusations"] == 0 for row in promised]),
        ("the weights are the clean twin's, bit for bit", [row["same_weights"] for row in promised]),
        ("the clean twin is silent", [not each.alerts and not each.verdicts for each in clean]),
    )
    for text, held in laws:
        yield Claim(
            text=text,
            where=f"all attacks but {', '.join(sorted(NOT_PROMISED))}",
            verdict=equal(held),
            figures=f"{sum(held)} of {len(held)}",
            must=True,
        )
    passed = [row["caught"] == 0.0 for row in rows if row["kind"] in NOT_PROMISED and row["struck_steps"]]
    yield Claim(
        text="two neighbours who lie together pass the duplicate check",
        where=", ".join(sorted(NOT_PROMISED)),
        verdict=equal(passed),
        figures=f"{sum(passed)} of {len(passed)} attacks were not seen: secret audits are meant for them",
    )


def _picture(rows: list[dict[str, Any]]) -> bytes:
    heat: dict[str, dict[float, float | None]] = {}
    for row in rows:
        heat.setdefault(row["attack"], {})[row["rate"]] = row["caught"]
    return draw_heat(
        "Share of falsified steps that were caught", "rate", [HeatRow(name, cells) for name, cells in heat.items()]
    )
