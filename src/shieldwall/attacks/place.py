"""From a run's attack tables to attackers: who in this run is meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping

from shieldwall.attacks.aim import Aim, PlacedAttack
from shieldwall.attacks.spec import AttackSpec
from shieldwall.core.errors import ConfigError
from shieldwall.core.ids import INITIATOR

RANDOM = "random"
"""The value of `stage` that means the paper's transient attacker."""


def place_attacks(
    specs: Iterable[AttackSpec], *, stages: int, holders: Mapping[int, str], workers: Collection[str], seed: int
) -> tuple[PlacedAttack, ...]:
    """The attacks with their attackers.

    Args:
        specs: checked tables.
        stages: K.
        holders: stage to its host when the run starts; 0 and K-1 are the initiator's.
        workers: names of all workers, spares included.
        seed: the run's, for attacks that have none of their own.

    Raises:
        ConfigError: SW-A105, the initiator is attacked; SW-A106, there is no such stage; SW-A107, there is no such
            worker.
    """
    return tuple(_place(spec, stages, holders, workers, seed) for spec in specs)


def _place(
    spec: AttackSpec, stages: int, holders: Mapping[int, str], workers: Collection[str], seed: int
) -> PlacedAttack:
    worker, stage = None, None
    if isinstance(spec.stage, int):
        _require_middle_stage(spec.stage, stages, spec.where)
        worker, stage = _holder(spec.stage, holders, spec.where), spec.stage
    elif spec.stage == RANDOM:
        _require_any_middle_stage(stages, spec.where)
    else:
        _require_worker(spec.stage, workers, spec.where)
        worker = spec.stage
    aim = Aim(
        worker=worker,
        stage=stage,
        stages=stages,
        seed=seed if spec.seed is None else spec.seed,
        direction=spec.direction,
        rate=spec.rate,
        from_step=spec.from_step,
        each_attempt=spec.each_attempt,
    )
    return PlacedAttack(kind=spec.kind, attack=spec.attack, aim=aim)


def _require_middle_stage(stage: int, stages: int, where: str) -> None:
    _require_any_middle_stage(stages, where)
    if not 0 <= stage < stages:
        raise ConfigError(
            "SW-A106",
            f"there is no stage {stage} to attack",
            where=f"stage of {where}",
            expected=f"a stage from 1 to {stages - 2}: the run has {stages}, counted from 0",
            got=str(stage),
            remedy="take one of these, or raise pipeline.stages",
        )
    if stage in (0, stages - 1):
        raise _refuse_initiator(f"stage {stage} is the initiator's", f"a stage from 1 to {stages - 2}", stage, where)


def _holder(stage: int, holders: Mapping[int, str], where: str) -> str:
    if holders[stage] == INITIATOR:
        raise _refuse_initiator(f"stage {stage} is held by the initiator in this run", "a worker's stage", stage, where)
    return holders[stage]


def _require_any_middle_stage(stages: int, where: str) -> None:
    if stages < 3:
        raise ConfigError(
            "SW-A106",
            "there is no middle stage to attack",
            where=f"stage of {where}",
            expected="at least 3 stages: the first and the last are the initiator's",
            got=f"{stages} stages",
            remedy="set pipeline.stages to 3 or more, or take the attack out",
        )


def _require_worker(name: str, workers: Collection[str], where: str) -> None:
    if name == INITIATOR:
        raise _refuse_initiator("the initiator is trusted and never attacks", "a worker's name", name, where)
    if name not in workers:
        near = difflib.get_close_matches(name, workers, n=1)
        raise ConfigError(
            "SW-A107",
            f'there is no worker "{name}" to attack with',
            where=f"stage of {where}",
            expected=f'one of: {", ".join(sorted(workers))}; a stage\'s number without quotes; or "{RANDOM}"',
            got=name,
            remedy=f'did you mean "{near[0]}"?' if near else "a stage is written as a number, such as stage = 2",
        )


def _refuse_initiator(summary: str, expected: str, got: object, where: str) -> ConfigError:
    return ConfigError(
        "SW-A105",
        summary,
        where=f"stage of {where}",
        expected=expected,
        got=str(got),
        remedy="attack a worker: data, labels and the first and last stage never leave the initiator",
    )
