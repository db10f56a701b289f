"""What the benchmarks train: a model with random weights on random tokens, whole or through the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from shieldwall.core.compression import Compression, CompressionKind
from shieldwall.core.ids import INITIATOR
from shieldwall.lab.whole import ATTENTION, CLIP_NORM, LEARNING_RATE, draw_tokens
from shieldwall.models.families import TinyShape
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import open_source
from shieldwall.models.span import even_cut, spans_of
from shieldwall.models.tiny import write_tiny
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.coordinator import Coordinator, StepWork
from shieldwall.pipeline.feed import MicroBatch
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.recovery.views import with_duplicates
from shieldwall.run.deployment import deploy
from shieldwall.run.ledger_record import LedgerRecord
from shieldwall.run.recompute import StageRecompute, no_frozen
from shieldwall.run.session import assign_both
from shieldwall.run.shield import Parties, Shield, first_roots
from shieldwall.run.states import Holding, Origin, owners, stage_states
from shieldwall.schedule import Plan, When, make_plan, usual_hosts
from shieldwall.verify.ledger import LedgerWriter, RunRecord

Steps = Sequence[Sequence[Tensor]]
"""For each step its micro-batches of tokens (B, T)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model and a step."""

    family: str = "gpt2"
    layers: int = 6
    width: int = 256
    heads: int = 4
    vocabulary: int = 8192
    block_tokens: int = 128
    micro_batches: int = 4
    micro_batch_size: int = 2

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.micro_batches * self.micro_batch_size * self.block_tokens

    @property
    def shape(self) -> tuple[int, int, int]:
        """Micro-batches of a step, sequences in one, tokens in a sequence."""
        return (self.micro_batches, self.micro_batch_size, self.block_tokens)

    def write_model(self, seed: int, folder: Path) -> None:
        """Draw a model's weights and save them in Hugging Face layout; dropout is 0."""
        shape = TinyShape(
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            vocabulary=self.vocabulary,
            positions=self.block_tokens,
            end_token=0,
        )
        write_tiny(self.family, shape, seed, folder)

    def draw_tokens(self, seed: int, steps: int) -> Steps:
        """Random tokens for `steps` steps."""
        return draw_tokens(self.vocabulary, (self.micro_batches, self.micro_batch_size, self.block_tokens), steps, seed)


Deploy = Callable[..., AbstractAsyncContextManager[Coordinator]]
"""`deploy`, or something that is called alike."""


class Trainer(Protocol):
    """Trains the subject in one way."""

    async def train(self, first: int, last: int) -> list[float]:
        """Train the steps `first` to `last - 1` and return each step's loss."""


class TokenFeed:
    """Gives the initiator's host its tokens."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def positions(self, step: int) -> Mapping[int, Tensor]:
        """Every row is one sequence."""
        del step
        return {}

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on."""
        tokens_BT = self._steps[step][micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, float(len(self._steps[step])))

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """Benchmarks evaluate nothing."""
        raise LookupError(micro_batch)


class PipelineTrainer:
    """Trains through a deployment."""

    def __init__(self, coordinator: Coordinator, plan: Plan, shapes: Mapping[int, tuple[int, ...]]) -> None:
        self._coordinator = coordinator
        self._plan = plan
        self._shapes = shapes

    async def train(self, first: int, last: int) -> list[float]:
        losses = []
        for step in range(first, last):
            work = StepWork(plan=self._plan, step=step, learning_rate=LEARNING_RATE, shapes=self._shapes)
            result = await self._coordinator.step(work)
            losses.append(sum(result.losses.values()) / len(result.losses))
        await self._coordinator.settle()
        return losses


def plan_on_one_machine(schedule: str, stages: int, micro_batches: int, when: When | None = None) -> Plan:
    """The usual hosts, all on this machine's processor; with duplicates where `when` says when they are settled."""
    hosts = tuple(replace(host, processor="this machine") for host in usual_hosts(stages))
    return make_plan(schedule, stages, micro_batches, with_duplicates(hosts) if when else hosts, when=when)


@asynccontextmanager
async def pipeline_trainer(
    folder: Path,
    steps: Steps,
    plan: Plan,
    *,
    compute_of: Callable[[str], Compute] | None = None,
    deploy: Deploy = deploy,
    gradient_checkpointing: bool = False,
    ledger: Path | None = None,
    cut: Sequence[int] = (),
    compression: CompressionKind = "none",
) -> AsyncIterator[PipelineTrainer]:
    """The model in `folder` on the hosts of `plan`, in this process unless `deploy` says otherwise.

    Args:
        folder: what `Size.write_model` wrote.
        steps: tokens.
        plan: who holds which stage.
        compute_of: compute by host name; at once on the event loop if not given.
        deploy: puts hosts, transport and coordinator together.
        gradient_checkpointing: stages keep their inputs alone and compute the rest again.
        ledger: folder for the ledger of a run that is checked; None: duplicates compute, and nobody compares.
        cut: layers of each stage; evenly if not given.
        compression: of what crosses a border.
    """
    source = open_source(folder)
    model = ModelSettings(config=source.config, attention=ATTENTION)
    skeleton = build_skeleton(model)
    spans = spans_of(cut or even_cut(source.layers, plan.stages))
    settings = HostSettings(
        model=model,
        seed=0,
        device=torch.device("cpu"),
        optimizer=OptimizerSettings(),
        gradient_checkpointing=gradient_checkpointing,
        compression=Compression(compression),
    )
    holdings = list(stage_states(skeleton, spans, Origin(base=folder)))
    shield = bench_shield(plan, settings, holdings, ledger) if ledger else None
    deployment = deploy(
        plan,
        settings,
        TokenFeed(steps),
        run="benchmark",
        stage_of=owners(skeleton, spans),
        clipping=Clipping(norm=CLIP_NORM),
        compute_of=compute_of,
        **({"shield": shield} if shield else {}),
    )
    shapes = {m: (*each.shape, model.config.hidden_size) for m, each in enumerate(steps[0])}
    async with deployment as coordinator:
        if shield:
            await coordinator.announce(shield.view(plan.hosts), [host.name for host in plan.hosts])
        for holding in holdings:
            await assign_both(coordinator, plan, holding)
        yield PipelineTrainer(coordinator, plan, shapes)


def bench_shield(plan: Plan, settings: HostSettings, holdings: Sequence[Holding], folder: Path) -> Shield:
    """A shield with a ledger of its own in `folder`, as a run has it."""
    parties = Parties(host.name for host in plan.hosts)
    recompute = StageRecompute(settings, [each.span for each in holdings], no_frozen)
    states = {each.span.index: each.state for each in holdings if plan.checker_of(each.span.index)}
    roots = first_roots(recompute, states)
    record = RunRecord(
        run="benchmark",
        config_root="",
        run_key=parties.keys[INITIATOR],
        keys=parties.keys,
        arithmetic="",
        state_roots=roots,
    )
    writer = LedgerWriter.create(folder, parties[INITIATOR], record)
    return Shield(
        parties,
        arithmetic="",
        recompute=recompute,
        record=LedgerRecord(writer, None, "benchmark"),
        state_roots=roots,
        compression=settings.compression,
    )
