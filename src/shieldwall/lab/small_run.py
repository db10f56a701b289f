"""One small training in this process, checked or not, attacked or not: what experiments and tests repeat many times.

A `Case` says everything about it, tokens included, so that the same case can be run in several ways and compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from shieldwall.attacks import AttackHook
from shieldwall.core.compression import Compression, CompressionKind
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import Role
from shieldwall.core.messages import StageState, View
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header, Refusal
from shieldwall.core.verdicts import Verdict
from shieldwall.models.adapters import make_lora
from shieldwall.models.families import find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.span import StageSpan, even_cut, spans_of
from shieldwall.pipeline.clip import ClipBy, Clipping
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.coordinator import Coordinator, StepWork
from shieldwall.pipeline.feed import MicroBatch
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.learning_rate import LearningRate
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.recovery.detour import Detour
from shieldwall.recovery.views import with_duplicates
from shieldwall.run.defence import RESPONSES
from shieldwall.run.deployment import deploy
from shieldwall.run.detours import Detours
from shieldwall.run.handover import Handover
from shieldwall.run.recompute import StageRecompute
from shieldwall.run.responder import Course, Responder
from shieldwall.run.shield import Parties, Shield, first_roots
from shieldwall.run.states import Holding, Origin, owners, stage_states
from shieldwall.schedule import Host, Plan, Topology, make_plan, usual_hosts
from shieldwall.verify.court import Court
from shieldwall.verify.court.record import StepRecord

VOCABULARY = 97
"""Tokens of a case are below this; so must be its model's vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training, to be run in whatever way."""

    family: str
    stages: int
    schedule: str = "gpipe"
    micro_batches: int = 4
    layers: int = 6
    cut: tuple[int, ...] = ()
    steps: int = 5
    dropout: float = 0.1
    clip_norm: float = 0.5
    clip_by: ClipBy = "model"
    peak_learning_rate: float = 3e-3
    attention: str = ""
    """Implementation by transformers' name; empty for the first that the family has."""
    seed: int = 7
    batch: int = 2
    block_tokens: int = 16
    packed: bool = False
    """Whether each row holds two examples, the second counting its positions from 0 again."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    workers: int | None = None
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    gradient_checkpointing: bool = False
    lora_rank: int = 0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ()
    hooks_of: Mapping[str, Sequence[Hook]] = field(default_factory=dict)
    compute_of: Callable[[str], Compute] | None = None
    when: Literal["before_use", "before_commit"] | None = None
    """When slots are settled; None: nothing is checked."""
    bans: bool = False
    respond: Literal["repair", "skip", "restart"] = "repair"
    """What follows an alert."""
    attempts: int = 8
    """How often a step is tried."""
    topology: Topology = "chain"
    compression: CompressionKind = "none"
    """Of what crosses a border."""

    @property
    def learning_rate(self) -> LearningRate:
        return LearningRate(peak=self.peak_learning_rate, warmup_steps=2, steps=self.steps, shape="cosine")

    @property
    def attention_name(self) -> str:
        return self.attention or find_family(self.family, "test").attentions[0]

    @property
    def tokens(self) -> Tensor:
        """(steps, M, B, T)."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.steps, self.micro_batches, self.batch, self.block_tokens)
        return torch.randint(VOCABULARY, shape, generator=generator)

    @property
    def positions_BT(self) -> Tensor:  # noqa: N802 (the shape is in the name)
        """(B, T), the same for every micro-batch of a packed case."""
        first = self.block_tokens // 3
        row_T = torch.cat([torch.arange(first), torch.arange(self.block_tokens - first)])
        return row_T.repeat(self.batch, 1)

    def config(self, folder: Path) -> PreTrainedConfig:
        """The configuration of the model in `folder`, with this case's dropout."""
        config = AutoConfig.from_pretrained(folder)
        for name in find_family(self.family, "test").dropout_fields:
            setattr(config, name, self.dropout)
        return config

    def hosts(self) -> tuple[Host, ...]:
        """The usual hosts, or `workers` of them who share the middle stages in turns."""
        hosts = usual_hosts(self.stages)
        if self.workers is not None:
            middle = range(1, self.stages - 1)
            shared = [Host(f"worker-{n + 1}", tuple(middle[n :: self.workers])) for n in range(self.workers)]
            hosts = (Host("initiator", tuple(dict.fromkeys((0, self.stages - 1)))), *shared)
        return with_duplicates(hosts) if self.when else hosts

    @property
    def holders(self) -> dict[int, str]:
        """Stage to its host."""
        return {stage: host.name for host in self.hosts() for stage in host.stages}

    @property
    def checkers(self) -> dict[int, str]:
        """Stage to the host of its duplicate; empty where nothing is checked."""
        return {stage: host.name for host in self.hosts() for stage in host.duplicates}

    @property
    def worker_names(self) -> list[str]:
        """Everybody but the initiator."""
        return [host.name for host in self.hosts() if host.name != "initiator"]


class MemoryRecord:
    """Remembers a run in lists."""

    def __init__(self) -> None:
        self.statements: list[Signed[Any]] = []
        self.commits: list[StepRecord] = []
        self.events: list[Verdict | Refusal | int] = []
        """Verdicts and refusals in the order in which they were recorded, with the number of each step as it was
        committed between them."""

    def add(self, signed: Signed[Any]) -> None:
        self.statements.append(signed)
        if isinstance(signed.statement, (Verdict, Refusal)):
            self.events.append(signed.statement)

    def add_view(self, view: View, state_roots: Mapping[int, str]) -> None:
        del view, state_roots

    def keep_evidence(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
        del tensors, about
        return ""

    def correct(self, header: Signed[Header]) -> None:
        self.statements.append(header)

    def commit(self, step: StepRecord) -> str:
        self.commits.append(step)
        self.events.append(step.step)
        return "head"


@dataclass(frozen=True)
class Trained:
    """Weights by name and mean loss of each step."""

    # Not in the repr: asyncio writes that of a task's result when it puts back a handler of signals.
    weights: dict[str, Tensor] = field(repr=False)
    losses: list[float]
    court: Court | None = field(default=None, repr=False)
    rerun: int = 0
    """Micro-batches that were run again."""
    courses: list[Course] = field(default_factory=list, repr=False)
    """How each step came to its commit."""
    copies: dict[tuple[Role, int], StageState] = field(default_factory=dict, repr=False)
    """At the end, the state of each stage and duplicate, of runs that respond otherwise than by repair."""
    record: MemoryRecord = field(default_factory=MemoryRecord, repr=False)

    @property
    def verdicts(self) -> list[Verdict]:
        """Of a run that was checked; empty for one that was not."""
        return self.court.book.verdicts if self.court else []

    @property
    def alerts(self) -> int:
        """Of a run that was checked; 0 for one that was not."""
        return self.court.book.alerts if self.court else 0

    @property
    def refusals(self) -> list[Refusal]:
        """What was refused before use."""
        return [event for event in self.record.events if isinstance(event, Refusal)]


_plan = cache(make_plan)
"""A case and its twins have the same plan; making one takes longer than playing it."""


def train_pipeline(case: Case, folder: Path, record: MemoryRecord | None = None) -> Trained:
    """Train `case` on the model in `folder` through the pipeline.

    A run that ends early leaves what was said in `record`, where one is given.

    Raises:
        NonFiniteError: SW-N101; honest work made a NaN or an infinity.
        RunError: SW-V201 to SW-V203; the step could not be settled.
    """
    return asyncio.run(_train_pipeline(case, folder, record or MemoryRecord()))


async def _train_pipeline(case: Case, folder: Path, record: MemoryRecord) -> Trained:
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


def model_settings(case: Case, config: PreTrainedConfig) -> ModelSettings:
    """With adapters that our own code configures from what a user would ask for."""
    plain = ModelSettings(config=config, attention=case.attention_name, dtype=case.dtype, autocast=case.autocast)
    if not case.lora_rank:
        return plain
    lora = make_lora(
        build_skeleton(plain),
        rank=case.lora_rank,
        alpha=16.0,
        dropout=case.lora_dropout,
        targets=list(case.lora_targets),
        base="",
    )
    return replace(plain, adapter=lora)


class CaseFeed:
    """Tokens of a case for the initiator's host."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._tokens = case.tokens

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on."""
        tokens_BT = self._tokens[step, micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, self._case.micro_batches)

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """Tokens of the first step."""
        tokens_BT = self._tokens[0, micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, 1.0)

    def positions(self, step: int) -> Mapping[int, Tensor]:
        """Of a packed case for every micro-batch; of another one none."""
        del step
        return dict.fromkeys(range(self._case.micro_batches), self._case.positions_BT) if self._case.packed else {}


def _copied(state: StageState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.parameters.items()}
