"""The end of a step under oversight: stages and duplicates must have the same gradients and new states (design 4.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.messages import Message, Opened, Prepared, StageState, SummedUp, TakeGradients, TakePrepared
from shieldwall.core.oversight import Correspondence, Response, StepAbandoned
from shieldwall.core.signing import Signed
from shieldwall.core.statements import GradientClaim, StateOpening, StateSeal, seal_root
from shieldwall.core.tensor_roots import root_of_roots, tensor_roots
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.court.book import VerdictBook
from shieldwall.verify.court.hearing import Hearing
from shieldwall.verify.court.pieces import keep_case


class Updates:
    """Joins what stages and duplicates say about one step's update.

    Args:
        hearing: what is known of the step.
        book: where verdicts go.
        response: what becomes of a step in which something is wrong.
    """

    def __init__(self, hearing: Hearing, book: VerdictBook, *, response: Response) -> None:
        self._hearing = hearing
        self._book = book
        self._response = response
        self._gradients: dict[int, dict[str, Tensor]] = {}
        self.state_roots: dict[int, str] = {}
        """Root of each checked stage's new state, once both copies have it."""

    async def join_gradients(self, reports: Sequence[SummedUp], talk: Correspondence) -> dict[str, Tensor]:
        """The norms by parameter name; where stage and duplicate differ, those that the referee computes."""
        self._gradients.clear()
        by_host = {report.host: report.norms for report in reports}
        norms = dict(by_host.get(INITIATOR, {}))
        dtypes = {norm.dtype for norm in norms.values()}
        claims = self._by_copy([(report.host, signed) for report in reports for signed in report.claims])
        for stage in sorted(self._hearing.work.view.checkers):
            said = {role: claims.get((role, stage)) for role in (Role.STAGE, Role.DUPLICATE)}
            reported = by_host.get(self._host(Role.STAGE, stage), {})
            stage_norms = {name: reported[name] for name in _claimed(said[Role.STAGE]) if name in reported}
            stage_norms = {name: norm for name, norm in stage_norms.items() if _is_usable(norm, dtypes)}
            if _same_gradients(said[Role.STAGE], said[Role.DUPLICATE], stage_norms):
                norms |= stage_norms
                continue
            norms |= await self._judge_gradients(stage, said, stage_norms, talk)
        return norms

    async def join_states(
        self,
        prepared: Sequence[Prepared],
        opened: Sequence[Opened],
        talk: Correspondence,
        *,
        clip_coefficients: Mapping[int, float],
        learning_rate: float,
    ) -> None:
        """Compare the opened roots; where they differ, the referee repeats the update and both get its state."""
        self.state_roots.clear()
        seals = self._by_copy([(report.host, signed) for report in prepared for signed in report.seals])
        openings = self._by_copy([(report.host, signed) for report in opened for signed in report.openings])
        for stage in sorted(self._hearing.work.view.checkers):
            roots = {
                role: _opened_root(seals.get((role, stage)), openings.get((role, stage)))
                for role in (Role.STAGE, Role.DUPLICATE)
            }
            if roots[Role.STAGE] and roots[Role.STAGE] == roots[Role.DUPLICATE]:
                self.state_roots[stage] = roots[Role.STAGE]
                continue
            gradients = self._gradients.get(stage) or await self._recompute_gradients(stage, talk)
            state = self._hearing.recompute.update(
                stage,
                await self._hearing.gatherer.state(stage, talk),
                gradients,
                clip_coefficient=clip_coefficients[stage],
                learning_rate=learning_rate,
            )
            numbers = {"clip_coefficient": clip_coefficients[stage].hex(), "learning_rate": learning_rate.hex()}
            await self._judge_states(stage, roots, state, await self._keep(stage, numbers, talk), talk)

    async def _judge_gradients(
        self,
        stage: int,
        said: Mapping[Role, Signed[GradientClaim] | None],
        norms: Mapping[str, Tensor],
        talk: Correspondence,
    ) -> dict[str, Tensor]:
        gradients = self._gradients[stage] = await self._recompute_gradients(stage, talk)
        root = root_of_roots(tensor_roots(gradients))
        right = {name: torch.linalg.vector_norm(gradient).cpu() for name, gradient in gradients.items()}
        wrong = [
            role
            for role, signed in said.items()
            if signed is None
            or signed.statement.root != root
            or dict(signed.statement.norms) != _as_text(right)
            or (role is Role.STAGE and _as_text(norms) != _as_text(right))
        ]
        got = {role: signed.statement.root if signed else "" for role, signed in said.items()}
        evidence = await self._keep(stage, {}, talk)
        self._convict(stage, wrong, CaseDirection.GRADIENTS, root, got, evidence)
        if self._response is Response.NONE:
            return dict(norms) or right
        for role in wrong:
            order = TakeGradients(step=self._hearing.work.step, stage=stage, role=role, gradients=gradients)
            await talk.order(self._host(role, stage), order)
        return right

    async def _keep(self, stage: int, numbers: Mapping[str, str], talk: Correspondence) -> tuple[str, ...]:
        """Put away what the stage worked on in the step, and its state before it."""
        about = {"step": self._hearing.work.step, "stage": stage, "training": True, **numbers}
        state = await self._hearing.gatherer.state(stage, talk)
        return keep_case(self._hearing.record, await self._hearing.step_work(stage, talk), state, about)

    async def _judge_states(
        self,
        stage: int,
        roots: Mapping[Role, str],
        state: StageState,
        evidence: tuple[str, ...],
        talk: Correspondence,
    ) -> None:
        root = self.state_roots[stage] = self._hearing.recompute.state_root(stage, state)
        wrong = [role for role, got in roots.items() if got != root]
        self._convict(stage, wrong, CaseDirection.UPDATE, root, roots, evidence)
        for role in wrong if self._response is Response.REPAIR else ():
            order: Message = TakePrepared(step=self._hearing.work.step, stage=stage, role=role, state=state)
            await talk.order(self._host(role, stage), order)

    async def _recompute_gradients(self, stage: int, talk: Correspondence) -> dict[str, Tensor]:
        if stage in self._hearing.work.view.still:
            return {}
        work = await self._hearing.step_work(stage, talk)
        state = await self._hearing.gatherer.state(stage, talk)
        return self._hearing.recompute.gradients(stage, state, self._hearing.work.step, work)

    def _convict(
        self,
        stage: int,
        wrong: Sequence[Role],
        direction: CaseDirection,
        expected: str,
        got: Mapping[Role, str],
        evidence: tuple[str, ...],
    ) -> None:
        """Put down a verdict for each copy that is wrong.

        Raises:
            StepAbandoned: where a step in which something is wrong is thrown away.
        """
        assignment = self._hearing.work
        self._book.alerts += 1
        for role in wrong:
            culprit = self._host(role, stage)
            what = "gradients" if direction is CaseDirection.GRADIENTS else "new state"
            self._book.convict(
                Verdict(
                    run=assignment.run,
                    view=assignment.view.view,
                    attempt=assignment.attempt,
                    step=assignment.step,
                    micro_batch=None,
                    direction=direction,
                    stage=stage,
                    culprit=culprit,
                    rule=1 if direction is CaseDirection.GRADIENTS else 5,
                    accuser=self._host(Role.STAGE if role is Role.DUPLICATE else Role.DUPLICATE, stage),
                    expected=expected,
                    got=got[role],
                    reason=f"the {what} of the {role} at {culprit} do not follow from its signed inputs"
                    if what == "gradients"
                    else f"the {what} of the {role} at {culprit} does not follow from its gradients",
                    evidence=evidence,
                )
            )
        if self._response is Response.ABANDON:
            raise StepAbandoned({stage})

    def _host(self, role: Role, stage: int) -> str:
        view = self._hearing.work.view
        return view.holders[stage] if role is Role.STAGE else view.checkers[stage]

    def _by_copy(self, said: Sequence[tuple[str, Signed[Any]]]) -> dict[tuple[Role, int], Signed[Any]]:
        """Statements by copy, of those who hold it, about this step; all of them are recorded."""
        filed: dict[tuple[Role, int], Signed[Any]] = {}
        for host, signed in said:
            holding = signed.statement.holding
            view, step = self._hearing.work.view, self._hearing.work.step
            right = holding.step == step and self._host_or_none(holding.role, holding.stage) == host
            right = right and (holding.run, holding.view) == (self._hearing.work.run, view.view)
            said_before = (holding.role, holding.stage) in filed  # the first word counts
            if right and not said_before and signed.signer == host and self._hearing.records.holds(signed):
                filed[holding.role, holding.stage] = signed
                self._hearing.record.add(signed)
        return filed

    def _host_or_none(self, role: Role, stage: int) -> str | None:
        view = self._hearing.work.view
        return view.holders.get(stage) if role is Role.STAGE else view.checkers.get(stage)


def _is_usable(norm: Tensor, dtypes: set[torch.dtype]) -> bool:
    """Whether a norm is one number, of the type that the initiator's own have: another type would round otherwise."""
    return norm.dim() == 0 and (not dtypes or norm.dtype in dtypes)


def _claimed(signed: Signed[GradientClaim] | None) -> Mapping[str, str]:
    return signed.statement.norms if signed else {}


def _same_gradients(
    stage: Signed[GradientClaim] | None, duplicate: Signed[GradientClaim] | None, norms: Mapping[str, Tensor]
) -> bool:
    """Whether both signed the same root and norms, and the norms that came as tensors are those."""
    if stage is None or duplicate is None:
        return False
    first, second = stage.statement, duplicate.statement
    return first.root == second.root and dict(first.norms) == dict(second.norms) == _as_text(norms)


def _as_text(norms: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: float(norm).hex() for name, norm in norms.items()}


def _opened_root(seal: Signed[StateSeal] | None, opening: Signed[StateOpening] | None) -> str:
    """The root in an envelope that was closed before; empty where it does not fit."""
    if seal is None or opening is None:
        return ""
    inside = opening.statement
    return inside.root if seal_root(inside.nonce, inside.root, opening.signer) == seal.statement.sealed else ""
