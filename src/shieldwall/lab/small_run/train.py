"""A case through the pipeline: hosts in this process, checked or not, with whatever follows an alert."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from shieldwall.attacks import AttackHook
from shieldwall.core.compression import Compression
from shieldwall.core.ids import Role
from shieldwall.core.messages import StageState, View
from shieldwall.lab.small_run.case import Case, CaseFeed, model_settings
from shieldwall.lab.small_run.record import MemoryRecord, Trained
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.span import StageSpan, even_cut, spans_of
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.coordinator import Coordinator, StepWork
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.recovery.detour import Detour
from shieldwall.run.defence import RESPONSES
from shieldwall.run.deployment import deploy
from shieldwall.run.detours import Detours
from shieldwall.run.handover import Handover
from shieldwall.run.recompute import StageRecompute
from shieldwall.run.responder import Course, Responder
from shieldwall.run.shield import Parties, Shield, first_roots
from shieldwall.run.states import Holding, Origin, owners, stage_states
from shieldwall.schedule import Host, Plan, make_plan

_plan = cache(make_plan)
"""A case and its twins have the same plan; making one takes longer than playing it."""


def train_pipeline(case: Case, folder: Path, record: MemoryRecord | None = None) -> Trained:
    """Train `case` on the model in `folder` through the pipeline.

    A run that ends early leaves what was said in `record`, where one is given.

    Raises:
        NonFiniteError: SW-N101; honest work made a NaN or an infinity.
        RunError: SW-V201 to SW-V203; the step could not be settled.
    """
    return asyncio.run(train_pipeline_within(case, folder, record or MemoryRecord()))


async def train_pipeline_within(case: Case, folder: Path, record: MemoryRecord) -> Trained:
    """As `train_pipeline`, on an event loop that runs already."""
    config = case.config(folder)
    spans = spans_of(case.cut or even_cut(case.layers, case.stages))
    model = model_settings(case, config)
    skeleton = build_skeleton(model)
    hosts = case.hosts()
    plan = _plan(case.schedule, case.stages, case.micro_batches, hosts, when=case.when, topology=case.topology)
    settings = HostSettings(
        model=model,
        seed=case.seed,
        device=torch.device("cpu"),
        optimizer=case.optimizer,
        gradient_checkpointing=case.gradient_checkpointing,
        compression=Compression(case.compression, case.dtype),
    )
    holdings = list(stage_states(skeleton, spans, Origin(base=folder, seed=case.seed), case.dtype))
    shield = _shield(case, settings, holdings, record) if case.when else None
    feed = CaseFeed(case)
    deployment = deploy(
        plan,
        settings,
        feed,
        run="test",
        stage_of=owners(skeleton, spans),
        clipping=Clipping(norm=case.clip_norm, by=case.clip_by),
        hooks_of=case.hooks_of,
        compute_of=case.compute_of,
        shield=shield,
    )
    weights: dict[str, Tensor] = {}
    losses = []
    courses: list[Course] = []
    copies: dict[tuple[Role, int], StageState] = {}
    rerun = 0
    width = model.config.hidden_size
    shapes = dict.fromkeys(range(case.micro_batches), (case.batch, case.block_tokens, width)) if shield else None

    def again(micro_batches: tuple[int, ...]) -> Plan:
        return _plan(
            case.schedule,
            case.stages,
            case.micro_batches,
            hosts,
            when="before_use",
            only=micro_batches,
            topology=case.topology,
        )

    async with deployment as coordinator:
        if shield:
            await coordinator.announce(shield.view(hosts), [host.name for host in hosts])
        for holding in holdings:
            span = holding.span
            await coordinator.assign(plan.host_of(span.index), span, holding.state, holding.frozen)
            checker = plan.checker_of(span.index)
            if checker:
                await coordinator.assign(checker, span, holding.state, holding.frozen, Role.DUPLICATE)
        responder = _responder(case, coordinator, plan, shield, spans, holdings)
        for step in range(case.steps):
            course = await responder.step(
                StepWork(
                    plan=plan,
                    step=step,
                    learning_rate=case.learning_rate.at(step),
                    positions=feed.positions(step),
                    shapes=shapes,
                    again=again,
                    attempts=case.attempts,
                )
            )
            courses.append(course)
            losses.append(sum(course.result.losses.values()) / len(course.result.losses))
            rerun += len(course.result.rerun)
        if case.respond != "repair":
            copies |= await _copies(coordinator, hosts)
        async for _, state in coordinator.states():
            weights.update(_copied(state))
    return Trained(weights, losses, shield.court if shield else None, rerun, courses, copies, record)


@dataclass(frozen=True)
class _Ground:
    """The hosts and plans of a case, which nobody leaves for good."""

    case: Case
    plan: Plan

    @property
    def hosts(self) -> tuple[Host, ...]:
        return self.plan.hosts

    def training(self) -> Plan:
        return self.plan

    def careful(self) -> Plan:
        case = self.case
        return _plan(
            case.schedule, case.stages, case.micro_batches, self.hosts, when="before_use", topology=case.topology
        )

    def around(self, found: Detour) -> Plan:
        case = self.case
        return _plan(
            case.schedule,
            case.stages,
            case.micro_batches,
            found.hosts,
            when="before_use",
            topology=case.topology,
        )


def _responder(
    case: Case,
    coordinator: Coordinator,
    plan: Plan,
    shield: Shield | None,
    spans: Sequence[StageSpan],
    holdings: Sequence[Holding],
) -> Responder:
    frozen = {holding.span.index: holding.frozen for holding in holdings}
    detours = None
    if shield and case.respond == "skip":
        detours = Detours(Handover(coordinator, shield, spans, frozen.__getitem__, _tell(case)))
    return Responder(
        coordinator,
        _Ground(case, plan),
        topology=case.topology,
        attempts=case.attempts,
        detours=detours,
        between=_nothing,
        on_loss=_nothing,
    )


def _tell(case: Case) -> Callable[[View], None]:
    """Attackers learn of every new view."""
    attackers = [hook for hooks in case.hooks_of.values() for hook in hooks if isinstance(hook, AttackHook)]

    def tell(view: View) -> None:
        for attacker in attackers:
            attacker.see_view(view)

    return tell


async def _nothing() -> None:
    """Nobody goes between two attempts."""


async def _copies(coordinator: Coordinator, hosts: Sequence[Host]) -> dict[tuple[Role, int], StageState]:
    copies = {}
    for host in hosts:
        for role, stages in ((Role.STAGE, host.stages), (Role.DUPLICATE, host.duplicates)):
            for stage in stages:
                copies[role, stage] = await coordinator.state(stage, (role,))
    return copies


def _shield(case: Case, settings: HostSettings, holdings: list[Holding], record: MemoryRecord) -> Shield:
    frozen = {holding.span.index: holding.frozen for holding in holdings}
    recompute = StageRecompute(settings, [holding.span for holding in holdings], lambda stage: frozen[stage])
    hosts = case.hosts()
    states = {each.span.index: each.state for each in holdings if each.span.index in case.checkers}
    return Shield(
        Parties(host.name for host in hosts),
        arithmetic="class",
        recompute=recompute,
        record=record,
        state_roots=first_roots(recompute, states),
        bans=case.bans,
        response=RESPONSES[case.respond],
        compression=settings.compression,
    )


def _copied(state: StageState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.parameters.items()}
