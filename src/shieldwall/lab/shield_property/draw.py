"""Draws a pipeline and one attacker of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from shieldwall.attacks import find_attack
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.attacked_run import AttackTable
from shieldwall.lab.small_run import VOCABULARY, Case
from shieldwall.models.families import TinyShape
from shieldwall.models.tiny import write_tiny
from shieldwall.schedule import TOPOLOGIES

WIDTH = 16

PARAMETERS: Mapping[str, Mapping[str, Sequence[Any]]] = MappingProxyType(
    {
        "gaussian": {"match": (False, True)},
        "noise": {"strength": (1e-3, 0.1, 1.0)},
        "uniform": {"low": (0.0, -1.0)},
        "scale": {"factor": (0.0, -1.0, 1.01, 10.0, 1e38, 1e300)},
        "constant": {"value": (0.0, 1.0)},
        "bias": {"strength": (1e-3, 0.1, 1.0)},
        "replay": {"of": ("step", "micro_batch"), "relabel": (False, True), "sign_anew": (False, True)},
        "stale_weights": {"delay": (1, 1, 2)},
        "permute": {"over": ("tokens", "sequences", "features")},
        "alie": {"z": (0.3, 1.0, 1.5)},
        "inner_product": {"epsilon": (0.1, 1.0)},
        "drift": {"slope": (1e-3, 0.1), "cap": (0.1, 0.15)},
        "invisible_noise": {"share": (0.1, 0.5, 1.0)},
        "backdoor": {"threshold": (0.5, 1.0, 2.0), "strength": (0.1, 1.0)},
        "lazy": {"form": ("skip", "bfloat16", "int8", "frozen")},
        "bit_flip": {"bit": (0, 1, 4, 15), "entries": (1, 3)},
        "own_weights": {"target": ("parameters", "moments", "frozen", "served"), "alpha": (0.01, 0.1)},
        "wrong_gradient": {"form": ("scale", "permute", "negate", "zero")},
        "wrong_update": {"factor": (0.0, 0.99, 2.0)},
        "equivocate": {"to": ("consumer", "checker"), "factor": (-1.0, 0.0, 2.0)},
        "malformed": {
            "form": ("unsigned", "wrong_signature", "altered", "shape", "dtype", "truncated", "nan", "infinity")
        },
    }
)
"""What is drawn for each kind's parameters; a kind that is not here has its defaults."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A checked pipeline and the attack on it."""

    case: Case
    attack: AttackTable

    def __str__(self) -> str:
        case, attack = self.case, dict(self.attack)
        return (
            f"{attack} on {case.family} in {case.stages} stages, cut {case.cut}, {case.schedule}, {case.topology},"
            f" {case.when}, {case.micro_batches} micro-batches of {case.batch} x {case.block_tokens}, {case.steps}"
            f" steps, workers {case.workers}, seed {case.seed}, rank {case.lora_rank}"
        )


def draw_numbered(seed: int, number: int, kinds: Sequence[str]) -> Drawn:
    """The pipeline and attack with this number; kinds take turns."""
    return draw(Random(derive_seed("shield property", seed, number)), kinds[number % len(kinds)])


def draw(random: Random, kind: str) -> Drawn:
    """A pipeline and an attack of `kind`; K 4 to 8, M 1 to 8, layers at least K, the model as small as it goes."""
    stages = random.choice((4, 4, 5, 5, 6, 7, 8))
    parameters = {name: random.choice(values) for name, values in PARAMETERS.get(kind, {}).items()}
    needs_base = parameters.get("target") == "frozen"
    cut = _draw_cut(random, stages)
    case = Case(
        family=random.choice(("gpt2", "llama")),
        stages=stages,
        layers=sum(cut),
        cut=cut,
        schedule=random.choice(("gpipe", "1f1b")),
        when=random.choice(("before_use", "before_commit")),
        micro_batches=random.choice((1, 2, 2, 3, 3, 4, 5, 8)),
        batch=random.choice((1, 2)),
        block_tokens=random.choice((8, 12, 16)),
        steps=random.choice((2, 2, 3)),
        dropout=random.choice((0.0, 0.1)),
        clip_norm=random.choice((0.0, 0.5)),
        seed=random.randrange(2**31),
        workers=random.choice((None, None, 2, min(3, stages - 2))),
        lora_rank=2 if needs_base else random.choice((0, 0, 0, 2)),
    )
    attack = {"kind": kind, **_draw_aim(random, kind, case), **parameters}
    # Drawn last: what a number stood for before there was a choice is still the same.
    return Drawn(case=replace(case, topology=random.choice(TOPOLOGIES)), attack=attack)


def _draw_cut(random: Random, stages: int) -> tuple[int, ...]:
    """A layer for each stage, and one more for some."""
    longer = random.sample(range(stages), random.choice((0, 1, 2)))
    return tuple(1 + (stage in longer) for stage in range(stages))


def _draw_aim(random: Random, kind: str, case: Case) -> dict[str, Any]:
    who: int | str = random.choice((random.randrange(1, case.stages - 1), random.choice(case.worker_names), "random"))
    aim: dict[str, Any] = {
        "stage": who,
        "rate": random.choice((0.3, 0.5, 1.0, 1.0)),
        "from_step": random.choice((0, 0, 0, 1)),
        "seed": random.randrange(2**31),
    }
    directions = find_attack(kind, "attack").directions
    if directions:
        aim["direction"] = random.choice(directions)
    return aim


def model_folder(case: Case, root: Path) -> Path:
    """The small random model that `case` starts from, written under `root` if it is not there."""
    folder = root / f"{case.family}-{case.layers}-{WIDTH}"
    if not folder.exists():
        shape = TinyShape(layers=case.layers, width=WIDTH, heads=2, vocabulary=VOCABULARY, positions=16, end_token=0)
        write_tiny(case.family, shape, 0, folder)
    return folder
