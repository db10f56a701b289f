"""A small training with bad workers in it, and the receipt of what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shieldwall.attacks import AttackHook, AttackLog, place_attacks, read_attacks
from shieldwall.attacks.aim import PlacedAttack
from shieldwall.core.compression import Compression
from shieldwall.lab.small_run import Case, Trained, train_pipeline

AttackTable = Mapping[str, Any]
"""One `[[attack]]` table of a configuration."""


@dataclass(frozen=True)
class Attacked:
    """A training and what was falsified in it."""

    trained: Trained
    log: AttackLog


def train_attacked(case: Case, tables: Sequence[AttackTable], folder: Path) -> Attacked:
    """Train `case` with attacks in it, checked or not as the case says.

    Raises:
        ConfigError: SW-A101 to SW-A108; a table is wrong.
        NonFiniteError: SW-N101; in a run that checks nothing, or where honest work made it.
    """
    log = AttackLog()
    return Attacked(train_pipeline(with_attacks(case, tables, log), folder), log)


def with_attacks(case: Case, tables: Sequence[AttackTable], log: AttackLog) -> Case:
    """The case with an attacker's hook on every worker; those who are not meant stay honest."""
    workers = case.worker_names
    placed = place_attacks(
        read_attacks([dict(table) for table in tables], "attack"),
        stages=case.stages,
        holders=case.holders,
        workers=workers,
        seed=case.seed,
    )
    hooks = {name: [_attacker(name, placed, case, log), *case.hooks_of.get(name, ())] for name in workers}
    return replace(case, hooks_of={**case.hooks_of, **hooks})


def _attacker(name: str, placed: Sequence[PlacedAttack], case: Case, log: AttackLog) -> AttackHook:
    return AttackHook(
        name,
        placed,
        log=log,
        holders=case.holders,
        checkers=case.checkers,
        compression=Compression(case.compression, case.dtype),
    )
