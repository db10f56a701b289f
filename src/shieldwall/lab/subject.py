"""What the benchmarks train: a model with random weights on random tokens, whole or through the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from shieldwall.lab.whole import ATTENTION, CLIP_NORM, LEARNING_RATE, draw_tokens
from shieldwall.models.families import TinyShape
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import open_source
from shieldwall.models.span import even_cut, spans_of
from shieldwall.models.tiny import write_tiny
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.coordinator import Coordinator, StepWork
from shieldwall.pipeline.feed import MicroBatch
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.run.deployment import deploy_in_process
from shieldwall.run.states import Origin, owners, stage_states
from shieldwall.schedule import Plan, make_plan, usual_hosts

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
"""`deploy_in_process`, or something that is called alike."""


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

    def __init__(self, coordinator: Coordinator, plan: Plan) -> None:
        self._coordinator = coordinator
        self._plan = plan

    async def train(self, first: int, last: int) -> list[float]:
        losses = []
        for step in range(first, last):
            work = StepWork(plan=self._plan, step=step, learning_rate=LEARNING_RATE)
            result = await self._coordinator.step(work)
            losses.append(sum(result.losses.values()) / len(result.losses))
        return losses


def plan_on_one_machine(schedule: str, stages: int, micro_batches: int) -> Plan:
    """The usual hosts, all on this machine's processor."""
    hosts = tuple(replace(host, processor="this machine") for host in usual_hosts(stages))
    return make_plan(schedule, stages, micro_batches, hosts)


@asynccontextmanager
async def pipeline_trainer(
    folder: Path,
    steps: Steps,
    plan: Plan,
    *,
    compute_of: Callable[[str], Compute] | None = None,
    deploy: Deploy = deploy_in_process,
    gradient_checkpointing: bool = False,
) -> AsyncIterator[PipelineTrainer]:
    """The model in `folder`, cut evenly, on the hosts of `plan` in this process.

    Args:
        folder: what `Size.write_model` wrote.
        steps: tokens.
        plan: who holds which stage.
        compute_of: compute by host name; at once on the event loop if not given.
        deploy: puts hosts, transport and coordinator together.
        gradient_checkpointing: stages keep their inputs alone and compute the rest again.
    """
    source = open_source(folder)
    model = ModelSettings(config=source.config, attention=ATTENTION)
    skeleton = build_skeleton(model)
    spans = spans_of(even_cut(source.layers, plan.stages))
    settings = HostSettings(
        model=model,
        seed=0,
        device=torch.device("cpu"),
        optimizer=OptimizerSettings(),
        gradient_checkpointing=gradient_checkpointing,
    )
    deployment = deploy(
        plan,
        settings,
        TokenFeed(steps),
        run="benchmark",
        stage_of=owners(skeleton, spans),
        clip_norm=CLIP_NORM,
        compute_of=compute_of,
    )
    async with deployment as coordinator:
        for holding in stage_states(skeleton, spans, Origin(base=folder)):
            span = holding.span
            await coordinator.assign(plan.host_of(span.index), span, holding.state, holding.frozen)
        yield PipelineTrainer(coordinator, plan)
