"""Runs a drawn case attacked, clean and unchecked, and holds it against the laws.

repair       the weights are those of the clean twin, bit for bit, and so are the losses
attribution  every verdict names one who had falsified something by then
detection    whoever falsified something in a step is named in that step, before its commit; what poisons a state
             that is in force is named when that state is next used or served; a frame that nobody can use is refused
economy      nothing is run twice where every slot is settled before use
silence      the clean twin has no verdict, no alert, no refusal
bite         without the shield the same attack changes the weights; a lie about checks or headers alone does not, and
             a turned bit may or may not

They are promised for every kind but those of `UNSEEN`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shieldwall.attacks import ATTACKS, AttackLog
from shieldwall.core.errors import NonFiniteError
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.lab.attacked_run import Attacked, AttackTable, train_attacked, with_attacks
from shieldwall.lab.shield_property.draw import Drawn
from shieldwall.lab.small_run import Trained, train_pipeline

UNSEEN = ("collude",)
"""Kinds that the duplicate check does not see: the checker is in it too."""
REFUSED = ("malformed", "replay")
"""Kinds whose frames are refused; a refusal proves no guilt. A replay that is signed anew is a lie like others."""
HARMLESS = ("input_lie", "false_accusation", "lazy_checker")
"""Kinds that lie about headers and checks alone: where nothing is checked they change nothing."""
FAINT = ("bit_flip",)
"""Kinds that may wash out: a bit of a token that no loss depends on."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One drawn case after its runs."""

    fired: int
    """Things falsified in the checked run."""
    struck: int
    """Pairs of worker and step in which something was."""
    caught: int
    """Those of them that ended in a verdict against the worker, or in a refusal where that is all there is."""
    verdicts: int
    false_accusations: int
    rerun: int
    changes_unchecked: bool | None
    """Whether the attack changed the weights without the shield; None where it cannot be run there."""
    broken: tuple[str, ...] = field(default=())
    """Laws that did not hold, in words; empty is what is promised."""


def promised_kinds() -> list[str]:
    """The kinds for which the laws must hold: of this package and of others."""
    return [kind for kind in sorted(ATTACKS) if kind not in UNSEEN]


def examine(drawn: Drawn, folder: Path) -> Examined:
    """Run `drawn` attacked, its clean twin, and attacked without the shield."""
    attacked = train_attacked(drawn.case, [drawn.attack], folder)
    clean = train_pipeline(drawn.case, folder)
    trained, log = attacked.trained, attacked.log
    caught = [each for each in sorted(log.struck) if _is_caught(*each, attacked, drawn.attack)]
    accused = [verdict for verdict in trained.verdicts if not log.fired_by(verdict.culprit, verdict.step)]
    changes = _changes_unchecked(drawn, folder, clean.weights)
    broken = (
        *_repair(trained, clean),
        *(f"attribution: {verdict.culprit} is named for {verdict}: {verdict.reason}" for verdict in accused),
        *(f"detection: {worker} got away with step {step}" for worker, step in sorted(log.struck - set(caught))),
        *_economy(drawn, attacked),
        *_silence(clean),
        *_bite(drawn.attack, changes),
    )
    return Examined(
        fired=log.fired,
        struck=len(log.struck),
        caught=len(caught),
        verdicts=len(trained.verdicts),
        false_accusations=len(accused),
        rerun=trained.rerun,
        changes_unchecked=changes,
        broken=broken,
    )


def same_weights(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether both have the same names and the same bits under each."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def named_before_commit(verdict: Verdict, trained: Trained) -> bool:
    """Whether the verdict was recorded while its step could still be undone."""
    events = trained.record.events
    return events.index(verdict) < events.index(verdict.step)


def _is_caught(worker: str, step: int, attacked: Attacked, attack: AttackTable) -> bool:
    trained = attacked.trained
    if _is_refused(attack):
        return any(refusal.sender == worker and refusal.slot.step == step for refusal in trained.refusals)
    mine = [verdict for verdict in trained.verdicts if verdict.culprit == worker]
    if attack["kind"] == "own_weights":
        # What is put in force after the commit of a step is used in the next one, or served.
        return any(
            verdict.direction is CaseDirection.STATE or named_before_commit(verdict, trained)
            for verdict in mine
            if verdict.step in (step, step + 1)
        )
    return any(verdict.step == step and named_before_commit(verdict, trained) for verdict in mine)


def _is_refused(attack: AttackTable) -> bool:
    """Whether its frames cannot be used. Without the shield they end the run, or let it wait for ever."""
    return attack["kind"] in REFUSED and not attack.get("sign_anew", False)


def _repair(trained: Trained, clean: Trained) -> Iterator[str]:
    if not same_weights(trained.weights, clean.weights):
        yield "repair: the weights are others than those of the clean twin"
    if trained.losses != clean.losses:
        yield "repair: the losses are others than those of the clean twin"


def _economy(drawn: Drawn, attacked: Attacked) -> Iterator[str]:
    rerun, case = attacked.trained.rerun, drawn.case
    if case.when == "before_use" and rerun:
        yield f"economy: {rerun} micro-batches were run again although every slot was settled before use"
    refused = {refusal.slot.step for refusal in attacked.trained.refusals}
    steps = len(refused | {verdict.step for verdict in attacked.trained.verdicts})
    if rerun > steps * case.micro_batches:
        yield f"economy: {rerun} micro-batches were run again in {steps} steps with anything to complain of"


def _silence(clean: Trained) -> Iterator[str]:
    if clean.verdicts or clean.alerts or clean.refusals or clean.rerun:
        yield f"silence: the clean twin has {len(clean.verdicts)} verdicts, {clean.alerts} alerts, {clean.rerun} rerun"


def _bite(attack: AttackTable, changes: bool | None) -> Iterator[str]:
    if changes is None or attack["kind"] in FAINT:
        return
    if changes is (attack["kind"] in HARMLESS):
        yield f"bite: without the shield the attack {'changes' if changes else 'does not change'} the weights"


def _changes_unchecked(drawn: Drawn, folder: Path, clean: Mapping[str, Tensor]) -> bool | None:
    log = AttackLog()
    case = with_attacks(replace(drawn.case, when=None), [drawn.attack], log)
    if _is_refused(drawn.attack):
        return None
    try:
        weights = train_pipeline(case, folder).weights
    except NonFiniteError:
        return True
    if drawn.attack["kind"] not in HARMLESS and not _reaches_weights(drawn.attack, log, drawn.case.steps):
        return None
    return not same_weights(weights, clean)


def _reaches_weights(attack: Mapping[str, Any], log: AttackLog, steps: int) -> bool:
    """Whether something was falsified early enough to reach the weights: moments are used one step later."""
    steps_struck = [step for _, step in log.struck]
    if attack.get("target") == "moments":
        return any(step < steps - 1 for step in steps_struck)
    return bool(steps_struck)
