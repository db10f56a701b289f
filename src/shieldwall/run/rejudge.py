"""Judging a run's cases again, from its ledger and its sealed evidence, on a machine of the same arithmetic class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from shieldwall.config import Config
from shieldwall.core.arithmetic import name_arithmetic, pinned_arithmetic
from shieldwall.core.errors import LedgerError, RunFolderError
from shieldwall.core.flat_state import unflatten_state
from shieldwall.core.statements import Header
from shieldwall.core.tensor_roots import root_of_roots, tensor_root, tensor_roots
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import find_folder, open_source, tiny_family
from shieldwall.models.span import spans_of
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.run.folder import RunFolder, no_run
from shieldwall.run.materials import set_dropout
from shieldwall.run.model import model_settings
from shieldwall.run.planning import find_device, optimizer_settings
from shieldwall.run.recompute import StageRecompute
from shieldwall.run.states import Origin, stage_states
from shieldwall.verify.court.pieces import STATE, WORK, read_work
from shieldwall.verify.ledger.cases import Case, cases
from shieldwall.verify.ledger.evidence import EvidenceStore
from shieldwall.verify.ledger.keys import read_evidence_key

_BY_SIGNATURES = {2, 3}
"""Rules whose proof is in the ledger itself: what was signed, and what was not."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """How the cases of a ledger fare before another judge."""

    upheld: int
    without_evidence: int
    by_rule: Mapping[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {
            "upheld": self.upheld,
            "without_evidence": self.without_evidence,
            "by_rule": {str(rule): count for rule, count in sorted(self.by_rule.items())},
        }

    def __str__(self) -> str:
        rules = ", ".join(f"rule {rule}: {count}" for rule, count in sorted(self.by_rule.items()))
        left = f"; {self.without_evidence} have no evidence" if self.without_evidence else ""
        return f"judged again  {self.upheld} verdicts upheld{f' ({rules})' if rules else ''}{left}"


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
    missing = 0
    with pinned_arithmetic(find_device(config), config.run.threads):
        judge = _Judge(_referee(config, folder))
        for case in cases(run):
            pieces = [store.read(root, key) for root in case.evidence]
            work = next((piece for piece in pieces if piece.meta.get("what") == WORK), None)
            state = next((piece for piece in pieces if piece.meta.get("what") == STATE), None)
            if case.verdict.rule in _BY_SIGNATURES and case.verdict.direction.is_slot:
                holds = _signed_so(case)
            elif state is None:
                missing += 1
                continue
            else:
                holds = judge.agrees(case, work.tensors if work else {}, work.meta if work else {}, state.tensors)
            if not holds:
                raise _overturned(case)
            upheld[case.verdict.rule] += 1
    return Rejudged(sum(upheld.values()), missing, dict(upheld))


class _Judge:
    """Repeats the work in a case's evidence."""

    def __init__(self, recompute: StageRecompute) -> None:
        self._recompute = recompute

    def agrees(
        self, case: Case, work: Mapping[str, Tensor], meta: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> bool:
        """Whether the verdict follows: the right root is the one it names, and the culprit signed another."""
        verdict = case.verdict
        if verdict.rule == 5 and verdict.direction.is_slot:
            return any(each.state_root == verdict.got != verdict.expected for each in _headers(case, verdict))
        root = self._root(verdict, work, meta, state)
        right = verdict.got if verdict.direction is CaseDirection.STATE else verdict.expected
        return root == right and verdict.got != verdict.expected

    def _root(
        self, verdict: Verdict, work: Mapping[str, Tensor], meta: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> str:
        stage, step, state = verdict.stage, verdict.step, unflatten_state(tensors)
        if verdict.direction is CaseDirection.STATE:
            return self._recompute.state_root(stage, state)
        each = read_work(work)
        if verdict.direction.is_slot:
            micro_batch = verdict.micro_batch or 0
            if verdict.direction is CaseDirection.BACKWARD:
                return tensor_root(self._recompute.gradient(stage, state, step, micro_batch, each[micro_batch]))
            training = bool(meta.get("training"))
            made = self._recompute.activation(stage, state, step, micro_batch, each[micro_batch], training=training)
            return tensor_root(made)
        gradients = self._recompute.gradients(stage, state, step, each)
        if verdict.direction is CaseDirection.GRADIENTS:
            return root_of_roots(tensor_roots(gradients))
        new = self._recompute.update(
            stage,
            state,
            gradients,
            clip_coefficient=float.fromhex(meta["clip_coefficient"]),
            learning_rate=float.fromhex(meta["learning_rate"]),
        )
        return self._recompute.state_root(stage, new)


def _headers(case: Case, verdict: Verdict) -> list[Header]:
    said = [signed for signed in (*case.statements, *case.inputs) if signed.signer == verdict.culprit]
    return [signed.statement for signed in said if isinstance(signed.statement, Header)]


def _signed_so(case: Case) -> bool:
    """Rule 2 or 3: the culprit signed for what no source signed, or signed two tensors for one slot."""
    verdict = case.verdict
    headers = [signed.statement for signed in (*case.statements, *case.inputs) if isinstance(signed.statement, Header)]
    if verdict.rule == 2:
        signed_roots = {header.root_out for header in headers}
        return verdict.got not in signed_roots and verdict.got != verdict.expected
    mine = _headers(case, verdict)
    return any(one.slot == other.slot and one.root_out != other.root_out for one in mine for other in mine)


def _referee(config: Config, folder: RunFolder) -> StageRecompute:
    """The referee of the run, built anew from its folder."""
    tiny = tiny_family(config.model.name) is not None
    source = open_source(folder.initial if tiny else find_folder(config.model.name))
    set_dropout(source, config.model.dropout)
    device, optimizer = find_device(config), optimizer_settings(config)
    model = model_settings(config, source, device)
    arithmetic = name_arithmetic(
        device, threads=config.run.threads, attention=model.attention, dtype=model.arithmetic, optimizer=optimizer.name
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
    )
    skeleton = build_skeleton(model)
    origin = Origin(
        base=source.folder,
        adapter=Path(config.model.adapter) if config.model.adapter else None,
        seed=config.run.seed,
    )
    frozen = {each.span.index: each.frozen for each in stage_states(skeleton, spans, origin, model.dtype)}
    return StageRecompute(settings, spans, lambda stage: frozen[stage])


def _overturned(case: Case) -> LedgerError:
    verdict = case.verdict
    return LedgerError(
        "SW-L111",
        "a verdict does not follow from its evidence",
        where=f"row {case.row}: {verdict}",
        expected=f"evidence by which {verdict.culprit} is guilty under rule {verdict.rule}",
        got="evidence that says otherwise",
        remedy="do not trust this run's verdicts; ask its owner for another ledger, or run it again",
    )
