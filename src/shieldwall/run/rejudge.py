"""Judging a run's cases again, from its ledger and its sealed evidence, on a machine of the same arithmetic class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shieldwall.config import Config
from shieldwall.core.arithmetic import name_arithmetic, pinned_arithmetic
from shieldwall.core.errors import LedgerError, RunFolderError
from shieldwall.core.flat_state import unflatten_state
from shieldwall.core.messages import StageState
from shieldwall.core.tensor_roots import root_of_roots, tensor_root, tensor_roots
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import find_folder, open_source, tiny_family
from shieldwall.models.span import spans_of
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.run.folder import RunFolder, no_run
from shieldwall.run.materials import set_dropout
from shieldwall.run.model import compression_of, model_settings
from shieldwall.run.planning import find_device, optimizer_settings
from shieldwall.run.recompute import StageRecompute
from shieldwall.run.states import Origin, stage_states
from shieldwall.verify.court.pieces import STATE, WORK, read_work
from shieldwall.verify.court.recompute import MicroBatchWork
from shieldwall.verify.ledger.cases import Case, cases
from shieldwall.verify.ledger.evidence import Evidence, EvidenceStore
from shieldwall.verify.ledger.keys import read_evidence_key
from shieldwall.verify.ledger.proof import Proof, WorkRoots

_BY_SIGNATURES = {2, 3}
"""Rules whose proof is in the ledger itself: what was signed, and what was not."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """How the cases of a ledger fare before another judge."""

    upheld: int
    without_evidence: int
    not_countersigned: int = 0
    """Verdicts that rest on what was not signed, in steps whose record not all others have countersigned."""
    by_rule: Mapping[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {
            "upheld": self.upheld,
            "without_evidence": self.without_evidence,
            "not_countersigned": self.not_countersigned,
            "by_rule": {str(rule): count for rule, count in sorted(self.by_rule.items())},
        }

    def __str__(self) -> str:
        rules = ", ".join(f"rule {rule}: {count}" for rule, count in sorted(self.by_rule.items()))
        have = "has" if self.without_evidence == 1 else "have"
        left = f"; {self.without_evidence} {have} no evidence" if self.without_evidence else ""
        if self.not_countersigned:
            rest = "rests" if self.not_countersigned == 1 else "rest"
            left += f"; {self.not_countersigned} {rest} on what was not signed, in steps that nobody countersigned"
        verdicts = "1 verdict" if self.upheld == 1 else f"{self.upheld} verdicts"
        return f"judged again  {verdicts} upheld{f' ({rules})' if rules else ''}{left}"


def rejudge(run: Path, key_file: Path) -> Rejudged:
    """Judge every case of a run again.

    Args:
        run: the run's folder, with its evidence.
        key_file: the reviewers' key, which opens the evidence.

    Raises:
        LedgerFileError: SW-L204 or SW-L205; the key file cannot be used, or does not open this evidence.
        LedgerError: SW-L110, a piece of evidence was changed; SW-L111, a verdict does not follow from its evidence.
        RunFolderError: SW-R102, there is no run; SW-R110, this machine is of another arithmetic class.
    """
    folder = RunFolder(run)
    if not folder.config.exists():
        raise no_run(folder)
    config = Config.load(folder.config)
    key = read_evidence_key(key_file)
    store = EvidenceStore(folder.evidence, config.run.name)
    upheld: Counter[int] = Counter()
    missing = uncovered = 0
    found = list(cases(run))
    convicted = {Proof(case).guilt for case in found if case.verdict.direction.is_slot and case.verdict.rule != 3}
    with pinned_arithmetic(find_device(config), config.run.threads):
        judge = _Judge(_referee(config, folder))
        for case in found:
            proof = Proof(case, convicted)
            if not proof.is_signed:
                raise _overturned(case, "signatures that do not say so")
            by_signatures = case.verdict.rule in _BY_SIGNATURES and case.verdict.direction.is_slot
            holds = (
                True if by_signatures else judge.agrees(case, proof, [store.read(root, key) for root in case.evidence])
            )
            if holds is False:
                raise _overturned(case, "evidence that says otherwise, or is of other work")
            covered = case.countersigned or not proof.rests_on_absence
            missing += holds is None
            uncovered += holds is True and not covered
            upheld[case.verdict.rule] += holds is True and covered
    return Rejudged(upheld.total(), missing, uncovered, {rule: count for rule, count in upheld.items() if count})


class _Judge:
    """Repeats the work in a case's evidence."""

    def __init__(self, recompute: StageRecompute) -> None:
        self._recompute = recompute

    def agrees(self, case: Case, proof: Proof, pieces: Sequence[Evidence]) -> bool | None:
        """Whether the evidence is of the work that was signed, and that work comes out as the verdict says.

        None where it cannot be said: there is no evidence, or the culprit signed nothing wrong, since norms that come
        with a right claim as tensors are not signed.
        """
        parts = {piece.meta.get("what"): piece for piece in pieces}
        if STATE not in parts:
            return None
        work, state = parts.get(WORK, Evidence({}, {})), parts[STATE]
        verdict, before, each = case.verdict, unflatten_state(state.tensors), read_work(work.tensors)
        shown = WorkRoots(
            entries={number: tensor_root(one.entry_BTD) for number, one in each.items()},
            arrived={
                number: tensor_root(one.arrived_BTD) for number, one in each.items() if one.arrived_BTD is not None
            },
            state=self._recompute.state_root(verdict.stage, before),
        )
        if not proof.binds(shown):
            return False
        if verdict.direction is CaseDirection.STATE:
            return shown.state == verdict.got != verdict.expected
        if verdict.rule == 5 and verdict.direction.is_slot:
            return True  # the header names another state, whatever was made with it
        if verdict.direction.is_slot:
            return self._made(verdict, before, each[verdict.micro_batch or 0]) == verdict.expected
        gradients = self._recompute.gradients(verdict.stage, before, verdict.step, each)
        if verdict.direction is CaseDirection.GRADIENTS:
            if root_of_roots(tensor_roots(gradients)) != verdict.expected:
                return False
            signed_wrong = verdict.got != verdict.expected or not proof.claims_norms(_norms(gradients))
            return True if signed_wrong else None
        return self._updated(case, before, gradients, work.meta) == verdict.expected != verdict.got

    def _made(self, verdict: Verdict, state: StageState, work: MicroBatchWork) -> str:
        """Root of what the stage makes in one slot."""
        stage, step, micro_batch = verdict.stage, verdict.step, verdict.micro_batch or 0
        if verdict.direction is CaseDirection.BACKWARD:
            return tensor_root(self._recompute.gradient(stage, state, step, micro_batch, work))
        training = verdict.direction is CaseDirection.FORWARD
        return tensor_root(self._recompute.activation(stage, state, step, micro_batch, work, training=training))

    def _updated(
        self, case: Case, state: StageState, gradients: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> str | None:
        """Root of the stage's new state; None where the evidence has other numbers than the step was committed with."""
        clip_coefficient, learning_rate = (float.fromhex(meta[name]) for name in ("clip_coefficient", "learning_rate"))
        commit, stage = case.commit, case.verdict.stage
        if commit and (commit.clip_coefficients.get(stage), commit.learning_rate) != (clip_coefficient, learning_rate):
            return None
        new = self._recompute.update(
            stage, state, gradients, clip_coefficient=clip_coefficient, learning_rate=learning_rate
        )
        return self._recompute.state_root(stage, new)


def _norms(gradients: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: float(torch.linalg.vector_norm(gradient).cpu()).hex() for name, gradient in gradients.items()}


def _referee(config: Config, folder: RunFolder) -> StageRecompute:
    """The referee of the run, built anew from its folder."""
    tiny = tiny_family(config.model.name) is not None
    source = open_source(folder.initial if tiny else find_folder(config.model.name))
    set_dropout(source, config.model.dropout)
    device, optimizer = find_device(config), optimizer_settings(config)
    model = model_settings(config, source, device)
    compression = compression_of(config, model)
    arithmetic = name_arithmetic(
        device,
        threads=config.run.threads,
        attention=model.attention,
        dtype=model.arithmetic,
        optimizer=optimizer.name,
        compression=compression,
    )
    planned = json.loads(folder.plan.read_text(encoding="utf-8"))
    if planned["arithmetic_class"]["root"] != arithmetic.root():
        raise RunFolderError(
            "SW-R110",
            "this machine is of another arithmetic class than the run",
            where=str(folder.path),
            expected=" ".join(f"{name}={value}" for name, value in planned["arithmetic_class"].items()),
            got=str(arithmetic),
            remedy="judge on a machine of the run's class; without --reviewer-key the ledger is verified anywhere",
        )
    spans = spans_of(planned["cut"])
    settings = HostSettings(
        model=model,
        seed=config.run.seed,
        device=device,
        optimizer=optimizer,
        gradient_checkpointing=config.pipeline.gradient_checkpointing,
        compression=compression,
    )
    skeleton = build_skeleton(model)
    origin = Origin(
        base=source.folder,
        adapter=Path(config.model.adapter) if config.model.adapter else None,
        seed=config.run.seed,
    )
    frozen = {each.span.index: each.frozen for each in stage_states(skeleton, spans, origin, model.dtype)}
    return StageRecompute(settings, spans, lambda stage: frozen[stage])


def _overturned(case: Case, got: str) -> LedgerError:
    verdict = case.verdict
    return LedgerError(
        "SW-L111",
        "a verdict does not follow from its evidence",
        where=f"row {case.row}: {verdict}",
        expected=f"signatures and evidence by which {verdict.culprit} is guilty under rule {verdict.rule}",
        got=got,
        remedy="do not trust this run's verdicts; ask its owner for another ledger, or run it again",
    )
